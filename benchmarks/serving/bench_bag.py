"""What the benchmark needs to know of a bag, the same for every bag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exeunt.contract import full_model

SCHEDULES = ("parallel", "cascade", "auto")  # of the engine, as the contenders' names end
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BenchStream:
    """Rows in order of arrival.

    Attributes:
        inputs: [rows, ...], the bag's only input.
        difficulty: float [rows], 0..1, how hard each row was made.
        truth: int64 [rows], the true class; None where nobody knows it.
    """

    inputs: np.ndarray
    difficulty: np.ndarray
    truth: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """A bag before its export.

    Attributes:
        members: name -> ONNX file; one input, class scores or probabilities as the first output.
        samples: [rows, ...], for ramps and calibration; no base of theirs is in the stream.
        labels: names of the classes; empty for numbers.
        stream: (rows, seed) -> a stream.
        settings: more lines for the bag file's top, such as "quantize".
    """

    members: dict[str, Path]
    samples: np.ndarray
    labels: tuple[str, ...]
    stream: Callable[[int, int], BenchStream]
    settings: str = ""


@dataclass(frozen=True, slots=True)
class BenchBag:
    """A bag of the benchmark.

    Attributes:
        name: of the bag.
        about: what it is, with licence and how the stream is made, in a sentence or two.
        prepare: (folder for files, folder of what is fetched and trained, say) -> its material.
    """

    name: str
    about: str
    prepare: Callable[[Path, Path, Say], Material]

    @property
    def plain(self) -> str:
        """The plain ensemble's model."""
        return full_model(self.name)

    def contenders(self, schedules: tuple[str, ...]) -> dict[str, tuple[str, str]]:
        """Bag -> mode and schedule: ensemble mode in stages under the bag's own name, the engine once per schedule."""
        engines = {f"{self.name}_{schedule}": ("engine", schedule) for schedule in schedules}
        return {self.name: ("ensemble", "auto"), **engines}
