"""From digits to a model repository: train the members and export the bag."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from exeunt.demo import data
from exeunt.demo.bag import BAG, write_bag_file, write_samples
from exeunt.demo.data import Digits
from exeunt.demo.members import PLANS, train_all
from exeunt.manifest import Manifest
from exeunt.measuring.progress import bar_callback, bars
from exeunt.serving.bags import bag_of
from exeunt_export.writing.readme import PAGE_FILE

SAMPLE_COPIES = 6  # noisy copies of each calibration image among the sample inputs
TEST_ROWS = 2000
GPU_DEVICE = Path("/dev/nvidiactl")  # there wherever NVIDIA's driver is


def modes_here() -> tuple[str, ...]:
    """How members may run, best for this host first: on a CPU in one process, on a GPU by Triton's own scheduling."""
    return ("ensemble", "engine") if GPU_DEVICE.exists() else ("engine", "ensemble")


def bag_names(modes: Sequence[str]) -> dict[str, str]:
    """Mode -> the bag's name: the first is the plain one."""
    return {mode: BAG if mode == modes[0] else f"{BAG}_{mode}" for mode in modes}


@dataclass(frozen=True, slots=True)
class PreparedDigits:
    """Bags ready to be served: the same members, one bag per mode.

    Attributes:
        repository: Triton model repository.
        manifests: of the bags in it; the first one has the baseline.
        parts: the data they were made from; the test part was never seen.
    """

    repository: Path
    manifests: tuple[Manifest, ...]
    parts: Digits

    @property
    def manifest(self) -> Manifest:
        """Of the bag with the baseline."""
        return self.manifests[0]

    @property
    def members(self) -> dict[str, Path]:
        """Member -> its ONNX file, as the plain ensemble runs it: with probabilities as output."""
        return {
            member.name: self.repository / str(member.model) / "1" / "model.onnx" for member in self.manifest.members
        }


def prepare(folder: Path, seed: int, console: Console, modes: Sequence[str]) -> PreparedDigits:
    """Train and export.

    Args:
        folder: gets `bag/` and `model_repository/`; what an earlier run left there is replaced.
        seed: of everything.
        console: for progress bars.
        modes: some of `modes_here`; a bag is exported in each, the first with the baseline.

    Raises:
        ConfigError: the export refused.
    """
    parts = data.digits(seed)
    parts_text = f"{len(parts.train)} images to train, {len(parts.calibration)} to calibrate, {len(parts.test)} to test"
    console.print(f"digits: {parts_text}")
    bag = folder / "bag"
    bag.mkdir(parents=True, exist_ok=True)
    with bars(console) as progress:
        train_all(parts.train, seed, bag, bar_callback(progress, "train "))
    write_samples(data.samples(parts.calibration, SAMPLE_COPIES, seed), bag)
    repository = folder / "model_repository"
    names = bag_names(modes)
    exported = {name: _export(folder, name, mode, console) for mode, name in names.items()}
    shutil.rmtree(repository, ignore_errors=True)
    for name, folder_ in exported.items():
        (folder_ / PAGE_FILE).rename(folder_ / f"{name}_{PAGE_FILE}")  # one for each bag
        shutil.copytree(folder_, repository, dirs_exist_ok=True)
        shutil.rmtree(folder_)
    return PreparedDigits(repository, tuple(bag_of(repository, name).manifest for name in exported), parts)


def write_test(prepared: PreparedDigits, folder: Path) -> None:
    """Write noisy test images and their labels, `test.npy` and `truth.npy`, for `exeunt infer` and `exeunt bench`."""
    stream = data.drifting_stream(prepared.parts.test, TEST_ROWS, seed=1)
    np.save(folder / "test.npy", stream.images)
    np.save(folder / "truth.npy", stream.labels)


def _export(folder: Path, name: str, mode: str, console: Console) -> Path:
    """One bag in a repository of its own."""
    from exeunt_export.export_bag import export_bag

    baseline = name == BAG
    bag_file = folder / "bag" / ("BAG.toml" if baseline else f"BAG_{mode}.toml")
    write_bag_file(PLANS, bag_file, name, mode, baseline)
    repository = folder / f"model_repository_{mode}"
    with bars(console) as progress:
        export_bag(bag_file, repository, force=True, progress=bar_callback(progress, f"{mode}: "))
    return repository
