"""Rendered glyphs: as many labelled images as a benchmark wants, from the fonts that matplotlib carries.

36 classes: ten digits, 24 letters (0/O and 1/I look alike, so each pair is one class), "&" and "?". A glyph is turned,
scaled and shifted; pieces of other glyphs lie about (clutter) and noise covers all, the more the higher its difficulty.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from exeunt.demo.data import DigitsPart

SYMBOLS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ&?"
MERGED = {"O": "0", "I": "1"}
CLASSES = tuple(symbol for symbol in SYMBOLS if symbol not in MERGED)
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic",
)  # fmt: skip
_ATLAS_PX = 64
_CHUNK_ROWS = 512  # keeps what one step of the drawing needs in the CPU's caches
_CLUTTER = 2  # other glyphs per image


def glyphs(
    rows: int,
    seed: int,
    difficulty: float | np.ndarray = 0.5,
    size_px: int = 32,
    classes: np.ndarray | None = None,
) -> DigitsPart:
    """Draw glyphs.

    Args:
        rows: how many.
        seed: of classes, fonts, places and noise.
        difficulty: 0 (upright, clean) to 1, one number or float [rows].
        size_px: height and width.
        classes: int [rows], class wanted of each image, -1 for any; None for any everywhere.

    Returns:
        images float32 [rows, 1, size_px, size_px], about 0 (ground) to 1 (ink) plus noise; int64 [rows] labels.
    """
    rng = np.random.default_rng(seed)
    hard = np.broadcast_to(np.asarray(difficulty, dtype=np.float32), (rows,))
    symbols = rng.integers(0, len(SYMBOLS), rows)
    if classes is not None:
        of_class = np.array([SYMBOLS.index(name) for name in CLASSES])
        symbols = np.where(classes >= 0, of_class[classes], symbols)
    images = np.empty((rows, 1, size_px, size_px), dtype=np.float32)
    for start in range(0, rows, _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        images[part, 0] = _drawn(symbols[part], hard[part], size_px, rng)
    return DigitsPart(images, _labels()[symbols])


def _drawn(symbols: np.ndarray, hard: np.ndarray, size_px: int, rng: np.random.Generator) -> np.ndarray:
    """One chunk; float32 [rows, size_px, size_px]."""
    rows = len(symbols)
    turn = rng.uniform(-1, 1, rows) * np.radians(8 + 32 * hard)
    scale = rng.uniform(0.75, 1.0, rows)
    shift = rng.uniform(-1, 1, (rows, 2)) * (0.05 + 0.15 * hard)[:, None]
    ink = rng.uniform(1.0 - 0.5 * hard, 1.0)
    images = _placed(_some(symbols, rng), turn, scale, shift, size_px) * ink[:, None, None]
    for _ in range(_CLUTTER):
        turn, around = rng.uniform(-np.pi, np.pi, (2, rows))
        away = rng.uniform(0.9, 1.3, rows)[:, None] * np.stack([np.sin(around), np.cos(around)], axis=1)
        other = _placed(_some(rng.integers(0, len(SYMBOLS), rows), rng), turn, rng.uniform(0.6, 1, rows), away, size_px)
        images = np.maximum(images, other * (hard * rng.uniform(0.3, 1.0, rows).astype(np.float32))[:, None, None])
    noise = rng.standard_normal(images.shape, dtype=np.float32) * (0.02 + 0.4 * hard)[:, None, None]
    return np.asarray(images + noise, dtype=np.float32)


def _some(symbols: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each symbol in a font by chance; float32 [rows, atlas, atlas]."""
    return np.asarray(_atlas()[rng.integers(0, len(FONTS), len(symbols)), symbols])


def _placed(glyphs: np.ndarray, turn: np.ndarray, scale: np.ndarray, shift: np.ndarray, size_px: int) -> np.ndarray:
    """Turn (radians), scale and shift (in half images) each glyph; float32 [rows, size_px, size_px], bilinear."""
    rows, atlas_px, _ = glyphs.shape
    line = (np.arange(size_px, dtype=np.float32) + 0.5) * 2 / size_px - 1
    down, right = (axis_shift.astype(np.float32)[:, None, None] for axis_shift in shift.T)
    y, x = line[None, :, None] - down, line[None, None, :] - right
    sine, cosine = (f(turn).astype(np.float32)[:, None, None] / scale[:, None, None] for f in (np.sin, np.cos))
    centre = (atlas_px - 1) / 2
    v = np.clip((cosine * y - sine * x + 1) * centre, 0, atlas_px - 1.001)
    u = np.clip((sine * y + cosine * x + 1) * centre, 0, atlas_px - 1.001)
    top_px, left_px = v.astype(np.int32), u.astype(np.int32)
    low, far = (v - top_px).astype(np.float32), (u - left_px).astype(np.float32)
    flat = glyphs.reshape(-1)
    at = np.arange(rows, dtype=np.int32)[:, None, None] * atlas_px**2 + top_px * atlas_px + left_px
    above = flat[at] * (1 - far) + flat[at + 1] * far
    below = flat[at + atlas_px] * (1 - far) + flat[at + atlas_px + 1] * far
    return np.asarray(above * (1 - low) + below * low)


@cache
def _labels() -> np.ndarray:
    """Label of each symbol, int64 [symbols]."""
    return np.array([CLASSES.index(MERGED.get(symbol, symbol)) for symbol in SYMBOLS], dtype=np.int64)


@cache
def _atlas() -> np.ndarray:
    """Every symbol in every font with an empty border; float32 [fonts, symbols, atlas, atlas] in 0..1."""
    from matplotlib import get_data_path
    from PIL import Image, ImageDraw, ImageFont  # Pillow comes with matplotlib

    atlas = np.zeros((len(FONTS), len(SYMBOLS), _ATLAS_PX, _ATLAS_PX), dtype=np.float32)
    for font, name in enumerate(FONTS):
        face = ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", f"{name}.ttf")), int(_ATLAS_PX * 0.8))
        for symbol, text in enumerate(SYMBOLS):
            page = Image.new("L", (_ATLAS_PX, _ATLAS_PX))
            ImageDraw.Draw(page).text((_ATLAS_PX / 2, _ATLAS_PX / 2), text, fill=255, font=face, anchor="mm")
            atlas[font, symbol] = np.asarray(page, dtype=np.float32) / 255
    return atlas
