"""Real photographs with a declared licence, for streams of crops under changing light and noise.

Debian's package `tuxpaint-stamps-default` (GPL-2) holds some hundred photographs of animals, plants, food and things,
cut out on a transparent ground, put on white here. They are fetched by `apt-get download`, read from the package file,
and neither installed nor kept: of a picture only crops live, in memory. Crops of them are never committed.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.serving.bench_bag import BenchStream, Say
from benchmarks.serving.fetching import fetch_debian

PACKAGE = "tuxpaint-stamps-default"
SIDE_PX = 260
BASE_SIDE_PX = 320  # photographs are shrunk to this before crops are taken
LEAST_SIDE_PX = 80
DRIFT = (0.1, 0.8, 0.3, 0.9, 0.2)  # difficulty along the stream
_FOLDERS = ("/animals/", "/food/", "/plants/", "/vehicles/")  # the others hold many drawings
_DRAWN = ("cartoon", "toys", "dinosaur")


def photographs(cache: Path, say: Say) -> list[np.ndarray]:
    """All photographs, uint8 [3, height, width] with the longer side BASE_SIDE_PX.

    Raises:
        ConfigError: no apt-get here, or it does not get the package.
    """
    return [picture for _, picture in with_kinds(cache, say)]


def with_kinds(cache: Path, say: Say) -> list[tuple[str, np.ndarray]]:
    """All photographs with what they show: "animals", "food", "plants" or "vehicles"; see `photographs`."""
    package = fetch_debian(cache, PACKAGE, say)
    tar_bytes = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], capture_output=True, check=True).stdout
    pictures = []
    with tarfile.open(fileobj=io.BytesIO(tar_bytes)) as archive:
        for entry in sorted(archive.getmembers(), key=lambda entry: entry.name):
            if not entry.isfile() or not entry.name.endswith((".png", ".jpg")):
                continue
            is_drawing = any(word in entry.name for word in _DRAWN)
            if is_drawing or not any(folder in entry.name for folder in _FOLDERS):
                continue
            file = archive.extractfile(entry)
            picture = _on_white(file.read()) if file is not None else None
            if picture is not None:
                kind = next(folder for folder in _FOLDERS if folder in entry.name)
                pictures.append((kind.strip("/"), picture))
    return pictures


def split(pictures: list[np.ndarray], seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Base pictures for samples (60 %) and for streams (40 %); none is in both."""
    order = np.random.default_rng(seed).permutation(len(pictures))
    samples = int(0.6 * len(pictures))
    return [pictures[k] for k in order[:samples]], [pictures[k] for k in order[samples:]]


def crops(pictures: list[np.ndarray], difficulty: np.ndarray, seed: int) -> np.ndarray:
    """One crop per difficulty: smaller, darker or brighter, and noisier the higher it is.

    A crop's side is 1 - 0.6 d u of the picture's shorter side (u uniform in 0..1), resized to SIDE_PX and mirrored half
    of the time; brightness is multiplied by 2 ** (1.5 d v), v uniform in -1..1; Gaussian noise has deviation 40 d u'.

    Args:
        pictures: base pictures; each comes once before any comes again.
        difficulty: float [rows], 0..1.
        seed: of everything.

    Returns:
        uint8 [rows, 3, SIDE_PX, SIDE_PX].
    """
    rng = np.random.default_rng(seed)
    rows = len(difficulty)
    rounds = -(-rows // len(pictures))
    order = np.concatenate([rng.permutation(len(pictures)) for _ in range(rounds)])[:rows]
    images = np.empty((rows, 3, SIDE_PX, SIDE_PX), dtype=np.uint8)
    for row, (place, hard) in enumerate(zip(order.tolist(), difficulty.tolist(), strict=True)):
        images[row] = _crop(pictures[place], hard, rng)
    return images


def drifting(pictures: list[np.ndarray], rows: int, seed: int) -> BenchStream:
    """A stream of crops whose difficulty goes through DRIFT; nobody knows the truth."""
    difficulty = np.interp(np.linspace(0, 1, rows), np.linspace(0, 1, len(DRIFT)), DRIFT).astype(np.float32)
    return BenchStream(crops(pictures, difficulty, seed), difficulty)


def _crop(picture: np.ndarray, hard: float, rng: np.random.Generator) -> np.ndarray:
    _, height, width = picture.shape
    side_px = max(48, int(min(height, width) * (1.0 - 0.6 * hard * rng.random())))
    top_px, left_px = rng.integers(0, height - side_px + 1), rng.integers(0, width - side_px + 1)
    part = picture[:, top_px : top_px + side_px, left_px : left_px + side_px].transpose(1, 2, 0)
    resized = Image.fromarray(np.ascontiguousarray(part)).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
    image = np.asarray(resized, dtype=np.float32).transpose(2, 0, 1)
    if rng.random() < 0.5:
        image = image[:, :, ::-1]
    image = image * 2.0 ** (1.5 * hard * rng.uniform(-1, 1))
    image = image + 40.0 * hard * rng.random() * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)


def _on_white(content: bytes) -> np.ndarray | None:
    """A picture on white; None for what is too small or cannot be read."""
    try:
        picture = Image.open(io.BytesIO(content)).convert("RGBA")
    except OSError:
        return None
    if min(picture.size) < LEAST_SIDE_PX:
        return None
    picture.thumbnail((BASE_SIDE_PX, BASE_SIDE_PX))
    ground = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    ground.alpha_composite(picture)
    return np.asarray(ground.convert("RGB")).transpose(2, 0, 1).copy()
