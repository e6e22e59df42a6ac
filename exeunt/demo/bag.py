"""The demo's bag on disk: members as ONNX, labels, sample inputs, and the bag file that names them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from exeunt.demo.data import CLASSES

BAG = "digits"

BAG_FILE = """\
# The demo's bag, as anybody would write one: `exeunt export BAG.toml -o model_repository`
name = "{name}"
mode = "{mode}"
labels = "labels.txt"
samples = "samples.npy"
{members}
[cuts]
exits = 3
ramp_budget = 0.3  # members this small cannot keep the usual 2 %: their whole work is a few milliseconds

[serving]
baseline = {baseline}  # the plain ensemble {name}_full, to compare with
"""
MEMBER = """
[[member]]
name = "{name}"
file = "{name}.onnx"
"""


def write_samples(samples: np.ndarray, folder: Path) -> None:
    """Write samples.npy (float32 [rows, 1, 32, 32]) and labels.txt, which bag files name beside the members."""
    np.save(folder / "samples.npy", samples)
    (folder / "labels.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")


def write_bag_file(members: Iterable[str], path: Path, name: str, mode: str, baseline: bool) -> None:
    """Write a bag file over the material in its folder."""
    text = BAG_FILE.format(
        name=name,
        mode=mode,
        members="".join(MEMBER.format(name=member) for member in members),
        baseline=str(baseline).lower(),
    )
    path.write_text(text, encoding="utf-8")
