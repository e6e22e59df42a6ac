"""From digits to a model repository: train the members, or take them from the cache, and export the bag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID
from torch import nn

from exeunt.client.progress import bars
from exeunt.demo import data
from exeunt.demo.bag import BAG, write_bag
from exeunt.demo.data import Digits
from exeunt.demo.records import read_manifest
from exeunt.demo.train import trained_bag
from exeunt.manifest import Manifest

SAMPLE_COPIES = 6  # noisy copies of each calibration image among the sample inputs


@dataclass(frozen=True, slots=True)
class Prepared:
    """A bag ready to be served.

    Attributes:
        repository: Triton model repository.
        manifest: of the bag in it.
        parts: the data it was made from; the test part was never seen.
        modules: the trained members.
    """

    repository: Path
    manifest: Manifest
    parts: Digits
    modules: dict[str, nn.Module]


def prepare(folder: Path, cache: Path, seed: int, console: Console) -> Prepared:
    """Train and export.

    Args:
        folder: gets `bag/` and `model_repository/`; what an earlier run left there is replaced.
        cache: folder of trained weights.
        seed: of everything.
        console: for progress bars.

    Raises:
        ConfigError: the export refused.
    """
    from exeunt.export.bag import export_bag

    parts = data.digits(seed)
    told = f"{len(parts.train)} images to train, {len(parts.calibration)} to calibrate, {len(parts.test)} to test"
    console.print(f"digits: {told}")
    with bars(console) as progress:
        modules = trained_bag(parts.train, cache, seed, _shown(progress, "train "))
    repository = folder / "model_repository"
    bag_file = write_bag(modules, data.samples(parts.calibration, SAMPLE_COPIES, seed), folder / "bag")
    with bars(console) as progress:
        export_bag(bag_file, repository, force=True, progress=_shown(progress, "export: "))
    return Prepared(repository, read_manifest(repository, BAG), parts, modules)


def _shown(progress: Progress, prefix: str) -> Callable[[str, int, int], None]:
    """A callback (what, done, of how many) that gives each `what` a bar of its own."""
    tasks: dict[str, TaskID] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = progress.add_task(f"{prefix}{what}", total=total)
        progress.update(tasks[what], completed=done, total=total)

    return show
