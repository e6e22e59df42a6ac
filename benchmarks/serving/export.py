"""One bag file per contender, exported into one model repository."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from benchmarks.serving.bench_bag import BenchBag, Material, Say
from exeunt_export.export_bag import export_bag

BAG_FILE = """\
name = "{name}"
mode = "{mode}"
schedule = "{schedule}"
samples = "samples.npy"
{settings}
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


def exported(bag: BenchBag, material: Material, schedules: tuple[str, ...], folder: Path, rows: int, say: Say) -> Path:
    """Export every contender that is not there yet.

    Args:
        bag: which.
        material: its members and samples.
        schedules: of the engine.
        folder: gets the bag files and `model_repository`; contenders that are there already are used again.
        rows: most samples.
        say: takes lines on what is done.

    Returns:
        the repository: the bag in ensemble mode with the plain ensemble, and one bag per schedule in engine mode.
    """
    repository = folder / "model_repository"
    settings = material.settings
    np.save(folder / "samples.npy", material.samples[:rows])
    if material.labels:
        (folder / "labels.txt").write_text("\n".join(material.labels) + "\n", encoding="utf-8")
        settings += '\nlabels = "labels.txt"'
    for name, (mode, schedule) in bag.contenders(schedules).items():
        if (repository / f"{name}_exit").exists():
            continue
        say(f"export {name} (mode {mode}, schedule {schedule})")
        baseline = name == bag.name
        text = bag_file_text(name, mode, schedule, settings, material, baseline)
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
        alone = folder / f"{name}_repository"
        report = export_bag(folder / f"{name}.toml", alone, force=True)
        for warning in report.warnings:
            say(f"  {warning}")
        models = sorted(
            (path for path in alone.iterdir() if path.is_dir()), key=lambda path: path.name == f"{name}_exit"
        )
        repository.mkdir(exist_ok=True)
        for model in models:  # the exit controller last: its folder says that all of the contender is there
            shutil.copytree(model, repository / model.name, dirs_exist_ok=True)
        shutil.rmtree(alone)
    return repository


def bag_file_text(name: str, mode: str, schedule: str, settings: str, material: Material, baseline: bool) -> str:
    """A contender's bag file."""
    members = "".join(
        f'\n[[member]]\nname = "{member}"\nfile = "{file.absolute()}"\n' for member, file in material.members.items()
    )
    return BAG_FILE.format(
        name=name, mode=mode, schedule=schedule, settings=settings, members=members, baseline=str(baseline).lower()
    )
