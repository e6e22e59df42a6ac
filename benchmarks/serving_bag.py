"""The serving benchmark's bag: trained on rendered glyphs of 36 classes, kept in a cache, written with its bag file."""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks import serving_nets
from benchmarks.serving_nets import ARCHITECTURES, SIDE_PX
from exeunt.demo import glyphs
from exeunt.demo.data import DigitsPart
from exeunt_export.export_bag import export_bag
from exeunt_export.torch_modules import save_module

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "exeunt" / "bench"
# (side in pixels, fresh images, peak learning rate): small images first, since they cost a tenth
COURSES = ((32, 16_000, 3e-3), (112, 2_560, 6e-4), (SIDE_PX, 2_560, 6e-4))
MORE_COURSES = {"mobile": 1}  # learns slowest: the last course again, so that no member dwarfs the others
BATCH_ROWS = 32
CHUNK_ROWS = 640
SAMPLE_ROWS, REPORT_ROWS = 6000, 1000
BAG = "glyphs"
CONTENDERS = {  # bag -> mode and schedule
    BAG: ("ensemble", "parallel"),
    f"{BAG}_parallel": ("engine", "parallel"),
    f"{BAG}_cascade": ("engine", "cascade"),
    f"{BAG}_auto": ("engine", "auto"),
}
BAG_FILE = """\
name = "{name}"
mode = "{mode}"
schedule = "{schedule}"
labels = "labels.txt"
samples = "samples.npy"
{members}
[cuts]
exits = 3

[serving]
baseline = {baseline}
kind = "cpu"
max_batch_size = 64

[exit]
tuner = "budget"
max_loss = 0.01
confidence = "margin"
"""
Say = Callable[[str], None]


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
        paths = [cache / f"{name}-{_key(courses[:done])}.pt" for done in range(1, len(courses) + 1)]
        done = next((done for done in range(len(courses), 0, -1) if paths[done - 1].exists()), 0)
        if done:
            module.load_state_dict(torch.load(paths[done - 1], weights_only=True))
        for following in range(done, len(courses)):
            side_px, rows, rate = courses[following]
            seed = 100 * (number + 1) + side_px + 10_007 * [each[0] for each in courses[:following]].count(side_px)
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


def exported(modules: Mapping[str, nn.Module], folder: Path, say: Say = print) -> Path:
    """Export the members once per contender into one model repository.

    Args:
        modules: from `trained`.
        folder: gets the bag files and `model_repository`; one that is there already is used again.
        say: takes lines on what is done.

    Returns:
        the repository: BAG in ensemble mode with the plain ensemble, and one bag per schedule in engine mode.
    """
    repository = folder / "model_repository"
    if repository.exists():
        return repository
    folder.mkdir(parents=True, exist_ok=True)
    for name, module in modules.items():
        save_module(module, {"image": np.zeros((2, 1, SIDE_PX, SIDE_PX), np.float32)}, folder / f"{name}.onnx")
    np.save(folder / "samples.npy", drawn(SAMPLE_ROWS, 7, hardest=1.0).images)
    (folder / "labels.txt").write_text("\n".join(glyphs.CLASSES) + "\n", encoding="utf-8")
    for bag, (mode, schedule) in CONTENDERS.items():
        say(f"export {bag} (mode {mode}, schedule {schedule})")
        path = folder / f"{bag}.toml"
        members = "".join(f'[[member]]\nname = "{name}"\nfile = "{name}.onnx"\n' for name in modules)
        path.write_text(
            BAG_FILE.format(
                name=bag, mode=mode, schedule=schedule, members=members, baseline=str(mode == "ensemble").lower()
            ),
            encoding="utf-8",
        )
        report = export_bag(path, folder / f"{bag}_repository")
        for warning in report.warnings:
            say(f"  {warning}")
    whole = folder / "whole"
    for bag in CONTENDERS:
        shutil.copytree(folder / f"{bag}_repository", whole, dirs_exist_ok=True)
        shutil.rmtree(folder / f"{bag}_repository")
    whole.rename(repository)
    return repository


def accuracy(modules: Mapping[str, nn.Module], part: DigitsPart) -> dict[str, float]:
    """Share of right labels of each member and of their plain mean ("bag")."""
    told = {}
    with torch.inference_mode():
        for name, module in modules.items():
            told[name] = torch.cat([module(x).softmax(1) for x in torch.from_numpy(part.images).split(64)]).numpy()
    right = {name: float((each.argmax(1) == part.labels).mean()) for name, each in told.items()}
    mean = sum(told.values()) / len(told)
    return right | {"bag": float((mean.argmax(1) == part.labels).mean())}


def _key(courses: tuple[tuple[int, int, float], ...]) -> str:
    told = [inspect.getsource(serving_nets), inspect.getsource(course), inspect.getsource(glyphs)]
    told.append(repr(courses))
    return hashlib.sha256("".join(told).encode()).hexdigest()[:12]


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(accuracy(trained(), drawn(REPORT_ROWS, 99)))
