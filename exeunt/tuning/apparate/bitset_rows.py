"""What a hill climb reads: rows as bit sets, so that a trial is a handful of integer operations.

A set of rows is one Python integer, bit r for row r. Which rows a trial moves, how many of them are wrong and where
they would have left otherwise are each an AND and a population count, so that a trial costs much the same for 16 rows
and for 1000, and no row is ever visited twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np

from exeunt.tuning.evidence import Evidence

NS_PER_US = 1000  # savings are whole nanoseconds: their sums are exact, and ties are ties

RampRows = tuple[list[float], list[int], int, int]
"""Of a ramp: error scores in ascending order; [n] the set of the n rows with the lowest; the set of the rows that it
gets wrong; nanoseconds that a row saves which leaves there and not at the end."""

_DIGITS = bytes.maketrans(b"\0\1", b"01")


class BitsetRows:
    """The rows of a climb, by ramp.

    Args:
        evidence: the rows.
        ramps: exits that may let rows leave, in depth order.
        latency_us: float64 [exits], latency of an answer at each exit.

    Attributes:
        rows: the set of all.
        count: how many rows a set stands for, weighted.
    """

    __slots__ = ("count", "ramps", "rows")

    def __init__(self, evidence: Evidence, ramps: Sequence[int], latency_us: np.ndarray) -> None:
        rows = len(evidence)
        set_of = _bits(rows).__getitem__
        errors = evidence.errors.T
        columns, orders = errors.tolist(), errors.argsort(axis=1).tolist()
        wrong = _sets(evidence.wrong.T[:-1])
        latencies: list[float] = latency_us.tolist()
        self.ramps: list[RampRows] = []
        for ramp in ramps:
            below = list(accumulate(map(set_of, orders[ramp]), initial=0))  # disjoint: a sum is a union
            saved_ns = round((latencies[-1] - latencies[ramp]) * NS_PER_US)
            self.ramps.append((sorted(columns[ramp]), below, wrong[ramp], saved_ns))
        self.rows = (1 << rows) - 1
        self.count = _counter(evidence.weight)


@lru_cache(maxsize=8)
def _bits(rows: int) -> list[int]:
    """The sets of one row each; windows come in few sizes."""
    return [1 << row for row in range(rows)]


def _sets(rows: np.ndarray) -> list[int]:
    """Sets of rows as integers, from bool [sets, rows]."""
    size = rows.shape[1]
    digits = rows[:, ::-1].tobytes().translate(_DIGITS)  # row 0 is the last digit
    return [int(digits[start : start + size], 2) for start in range(0, len(digits), size)]


def _counter(weight: np.ndarray) -> Callable[[int], float]:
    """How many rows a set stands for: its size where all weights are equal, else the sum of its weights.

    Rows are grouped by weight, so a count takes one AND per distinct weight; there are few (one per sampling rate).
    """
    distinct = set(weight.tolist())
    if len(distinct) == 1:
        return int.bit_count
    ascending = sorted(distinct)
    groups = list(zip(ascending, _sets(weight == np.array(ascending)[:, None]), strict=True))

    def count(rows: int) -> float:
        return sum(weight * (rows & group).bit_count() for weight, group in groups)

    return count
