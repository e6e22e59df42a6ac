"""The serving benchmark's bag: trained on rendered glyphs of 36 classes, kept in a cache, written with its bag file."""

from __future__ import annotations

import hashlib
import inspect
import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks import glyph_images as glyphs
from benchmarks.serving import glyph_nets
from benchmarks.serving.bench_bag import BenchBag, BenchStream, Material, Say
from benchmarks.serving.glyph_nets import ARCHITECTURES, SIDE_PX
from exeunt.demo.data import DigitsPart
from exeunt_export.torch_modules import save_module

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "exeunt" / "bench"
# (side in pixels, fresh images, peak learning rate): small images first, since they cost a tenth
COURSES = ((32, 16_000, 3e-3), (112, 2_560, 6e-4), (SIDE_PX, 2_560, 6e-4))
MORE_COURSES = {"mobile": 1}  # learns slowest: the last course again, so that no member dwarfs the others
BATCH_ROWS = 32
CHUNK_ROWS = 640
SAMPLE_ROWS = 6000
DRIFT = (0.25, 0.9, 0.35, 0.95, 0.25)  # difficulty, reached at even spaces along the stream


def trained(cache: Path = CACHE, say: Say = print) -> dict[str, nn.Module]:
    """The members, from the cache where they are there; otherwise minutes to an hour of one core.

    Args:
        cache: folder of trained weights; keyed by code, so a change trains anew.
        say: takes lines on what is done.

    Returns:
        name -> module in evaluation mode.
    """
    cache.mkdir(parents=True, exist_ok=True)
    bag = {}
    for number, (name, architecture) in enumerate(ARCHITECTURES.items()):
        torch.manual_seed(number)
        module = architecture(len(glyphs.CLASSES))
        courses = COURSES + COURSES[-1:] * MORE_COURSES.get(name, 0)
        paths = [cache / f"{name}-{_key(courses[:count])}.pt" for count in range(1, len(courses) + 1)]
        cached_courses = next((count for count in range(len(courses), 0, -1) if paths[count - 1].exists()), 0)
        if cached_courses:
            module.load_state_dict(torch.load(paths[cached_courses - 1], weights_only=True))
        for following in range(cached_courses, len(courses)):
            side_px, rows, rate = courses[following]
            seed = (
                100 * (number + 1) + side_px + 10_007 * [earlier[0] for earlier in courses[:following]].count(side_px)
            )
            course(module, side_px, rows, rate, seed, say)
            partial = paths[following].with_suffix(f".{os.getpid()}")
            torch.save(module.state_dict(), partial)
            partial.replace(paths[following])
        bag[name] = module.eval()
    return bag


def course(module: nn.Module, side_px: int, rows: int, rate: float, seed: int, say: Say) -> None:
    """Train on `rows` images that nobody has seen before; every member gets images of its own."""
    optimizer = torch.optim.AdamW(module.parameters(), weight_decay=1e-2)
    steps = rows // BATCH_ROWS
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    module.train()
    for first in range(0, rows, CHUNK_ROWS):
        part = drawn(CHUNK_ROWS, seed + 10_000 * first, side_px)
        images, labels = torch.from_numpy(part.images), torch.from_numpy(part.labels)
        losses = []
        for start in range(0, CHUNK_ROWS, BATCH_ROWS):
            batch = slice(start, start + BATCH_ROWS)
            optimizer.zero_grad()
            loss = loss_of(module(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        say(f"  {type(module).__name__} {side_px} px: {first + CHUNK_ROWS} images, loss {np.mean(losses):.3f}")


def drawn(rows: int, seed: int, side_px: int = SIDE_PX, hardest: float = 0.8) -> DigitsPart:
    """Images of every difficulty up to `hardest`."""
    difficulty = np.random.default_rng([seed, 1]).uniform(0.0, hardest, rows).astype(np.float32)
    return glyphs.glyphs(rows, seed, difficulty, side_px)


def prepare(folder: Path, _cache: Path, say: Say) -> Material:
    """Train, or take from the cache, and write the members as ONNX."""
    torch.set_num_threads(1)
    modules = trained(say=say)
    members = {name: folder / f"{name}.onnx" for name in modules}
    for name, module in modules.items():
        if not members[name].exists():
            save_module(module, {"image": np.zeros((2, 1, SIDE_PX, SIDE_PX), np.float32)}, members[name])
    return Material(members, drawn(SAMPLE_ROWS, 7, hardest=1.0).images, tuple(glyphs.CLASSES), stream)


def stream(rows: int, seed: int) -> BenchStream:
    """Images whose difficulty drifts."""
    difficulty = np.interp(np.linspace(0, 1, rows), np.linspace(0, 1, len(DRIFT)), DRIFT).astype(np.float32)
    part = glyphs.glyphs(rows, seed, difficulty, SIDE_PX)
    return BenchStream(part.images, difficulty, part.labels)


BAG = BenchBag(
    "glyphs",
    "Three CNNs of different kinds, trained here on rendered glyphs of 36 classes; difficulty drifts along the stream.",
    prepare,
)


def _key(courses: tuple[tuple[int, int, float], ...]) -> str:
    parts = [inspect.getsource(glyph_nets), inspect.getsource(course), inspect.getsource(glyphs), repr(courses)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:12]
