"""Trials of the hill climb, exact and fast.

A set of rows is one Python integer, bit r for row r. Which rows a trial moves, how many of them are wrong and where
they would have left otherwise are each an AND and a population count, so that a trial costs much the same for 16 rows
and for 1000, and no row is ever visited twice.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import or_

import numpy as np

from exeunt.tuning.evidence import Evidence

LARGEST_THRESHOLD = 1.0  # the error score's range is 0..1
NS_PER_US = 1000  # savings are whole nanoseconds: their sums are exact, and ties are ties
SLACK = 1e-9  # against rounding in allowed_loss * rows


# One ramp's attempt in one round, and what raising its threshold alone would change: (ramp, threshold, saved, lost).
# `saved` is extra latency saved, nanoseconds summed over weighted rows, never negative; `lost` is extra wrong answers,
# weighted rows, and may be negative. A bare tuple, since a search makes hundreds.
Trial = tuple[int, float, float, float]


class Slope:
    """The rows under the present thresholds, all 0 at first, and what one raised threshold would do to them."""

    def __init__(self, evidence: Evidence, ramps: Sequence[int], latency_us: np.ndarray, allowed_loss: float) -> None:
        rows = range(len(evidence))
        bits = [1 << row for row in rows]
        columns = evidence.errors.T.tolist()
        self._ranked: list[list[float]] = []  # [ramp][rank], error scores in ascending order
        self._below: list[list[int]] = []  # [ramp][n], the n rows with the lowest error scores
        for errors in [columns[ramp] for ramp in ramps]:
            order = sorted(rows, key=errors.__getitem__)
            self._ranked.append([errors[row] for row in order])
            self._below.append(list(accumulate([bits[row] for row in order], or_, initial=0)))
        wrong = _sets(evidence.wrong.T)
        self._wrong = [wrong[ramp] for ramp in ramps]
        latencies: list[float] = latency_us.tolist()
        self._saved_ns = [round((latencies[-1] - latencies[ramp]) * NS_PER_US) for ramp in ramps]
        self._count = _counter(evidence.weight)
        self._all = (1 << len(evidence)) - 1
        self._allowed = allowed_loss * self._count(self._all) + SLACK
        self._reached = [bisect_left(ranked, 0.0) for ranked in self._ranked]  # rows below the present threshold
        self._settle()

    def _settle(self) -> None:
        """Work out who leaves where under the present thresholds."""
        self._open: list[int] = []  # rows still there when the ramp decides
        self._leaves: list[int] = []
        self._lossy = 0  # rows now answered wrongly
        remaining = self._all
        for below, reached, wrong in zip(self._below, self._reached, self._wrong, strict=True):
            leaves = below[reached] & remaining
            self._open.append(remaining)
            self._leaves.append(leaves)
            self._lossy |= leaves & wrong
            remaining ^= leaves
        self._bearable = self._allowed - self._count(self._lossy)

    def trials(self, thresholds: Sequence[float], steps: Sequence[float]) -> tuple[list[Trial], list[int]]:
        """Let each ramp alone try its threshold plus its step.

        Args:
            thresholds: the present ones by ramp, as applied so far.
            steps: by ramp.

        Returns:
            the trials that keep the allowed loss and slow nobody down on the whole, and the ramps that overstepped;
            a ramp at the largest threshold is in neither.
        """
        feasible: list[Trial] = []
        overstepped: list[int] = []
        count, lossy = self._count, self._lossy
        for ramp, threshold in enumerate(thresholds):
            if threshold >= LARGEST_THRESHOLD:
                continue
            raised = threshold + steps[ramp]
            if raised > LARGEST_THRESHOLD:
                raised = LARGEST_THRESHOLD
            below, reached = self._below[ramp], self._reached[ramp]
            moved = (below[bisect_left(self._ranked[ramp], raised, reached)] ^ below[reached]) & self._open[ramp]
            if not moved:
                feasible.append((ramp, raised, 0, 0))
                continue
            lost = count(moved & self._wrong[ramp])
            if lossy:
                lost -= count(moved & lossy)
            if lost <= self._bearable and (saved := self._saved(ramp, moved)) >= 0:
                feasible.append((ramp, raised, saved, lost))
            else:
                overstepped.append(ramp)
        return feasible, overstepped

    def _saved(self, ramp: int, moved: int) -> float:
        """Latency saved by rows that move to `ramp` from wherever they leave now, nanoseconds."""
        saved = self._count(moved) * self._saved_ns[ramp]
        for later in range(ramp + 1, len(self._leaves)):
            taken = moved & self._leaves[later]
            if taken:
                saved -= self._count(taken) * self._saved_ns[later]
        return saved

    def apply(self, trial: Trial) -> None:
        """Raise the trial's threshold for good."""
        ramp, threshold = trial[:2]
        reached = bisect_left(self._ranked[ramp], threshold, self._reached[ramp])
        if reached != self._reached[ramp]:
            self._reached[ramp] = reached
            self._settle()


def _sets(rows: np.ndarray) -> list[int]:
    """Sets of rows as integers, from bool [sets, rows]."""
    packed = np.packbits(rows, axis=1, bitorder="little")
    size, told = packed.shape[1], packed.tobytes()
    return [int.from_bytes(told[start : start + size], "little") for start in range(0, len(told), size)]


def _counter(weight: np.ndarray) -> Callable[[int], float]:
    """How many rows a set stands for: its size where all weights are equal, else the sum of its weights.

    Rows are grouped by weight, so a count takes one AND per distinct weight; there are few (one per sampling rate).
    """
    distinct = sorted(set(weight.tolist()))
    if len(distinct) == 1:
        return int.bit_count
    groups = list(zip(distinct, _sets(weight == np.array(distinct)[:, None]), strict=True))

    def count(rows: int) -> float:
        return sum(each * (rows & group).bit_count() for each, group in groups)

    return count
