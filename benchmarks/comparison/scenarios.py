"""The shapes of the comparison's streams: how hard each row is and of which class, whatever the images are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ANY = -1  # in `classes`
CYCLE_ROWS = 3000
BURST_ROWS = (100, 300)  # length of a burst, from and to
BURST_EVERY_ROWS = 2000


@dataclass(frozen=True, slots=True)
class Scenario:
    """One shape.

    Attributes:
        name: for tables and files.
        drifts: False where every row comes from the same distribution.
        level: float64 [rows], difficulty, 0 easy to 1 hard.
        classes: int64 [rows], true class wanted, ANY where it does not matter.
    """

    name: str
    drifts: bool
    level: np.ndarray
    classes: np.ndarray


def scenarios(rows: int, classes: int, hard_class: int, seed: int) -> list[Scenario]:
    """The six streams of the comparison.

    Args:
        rows: length of each.
        classes: number of classes.
        hard_class: the class that comes in bursts.
        seed: of where bursts lie and which class follows which.
    """
    rng = np.random.default_rng(seed)
    whatever = np.full(rows, ANY)
    along = np.linspace(0.0, 1.0, rows)
    steps = np.array([0.05, 0.5, 0.2, 1.0, 0.1])
    sorted_classes = np.sort(rng.permutation(classes)[rng.integers(0, classes, rows)])
    bursts = _bursts(rows, rng)
    return [
        Scenario("stable", False, np.full(rows, 0.4), whatever),
        Scenario("abrupt shifts", True, steps[np.minimum((along * len(steps)).astype(int), len(steps) - 1)], whatever),
        Scenario("slow drift", True, 0.05 + 0.75 * along, whatever),
        Scenario("cyclic", True, 0.4 - 0.35 * np.cos(2 * np.pi * np.arange(rows) / CYCLE_ROWS), whatever),
        Scenario("sorted by class", True, np.full(rows, 0.4), sorted_classes),
        Scenario("bursts of a hard class", True, np.where(bursts, 0.7, 0.3), np.where(bursts, hard_class, ANY)),
    ]


def _bursts(rows: int, rng: np.random.Generator) -> np.ndarray:
    """True inside bursts, one in each BURST_EVERY_ROWS rows at a place by chance; bool [rows]."""
    inside = np.zeros(rows, dtype=bool)
    for start in range(0, rows, BURST_EVERY_ROWS):
        length = int(rng.integers(*BURST_ROWS))
        first = start + int(rng.integers(0, BURST_EVERY_ROWS - length))
        inside[first : first + length] = True
    return inside
