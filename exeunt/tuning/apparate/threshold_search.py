"""Apparate's greedy hill climb over per-ramp thresholds (SOSP'24, section 3.2, algorithm 1, figure 9).

All thresholds start at 0. In each round every ramp alone tries its threshold plus its step. Of the trials that keep
the allowed loss, the one that saves most latency per accuracy lost is applied and its step doubles; steps of trials
that lost too much halve, down to a floor. The search ends when nothing can be raised by the smallest step.

A trial is feasible if it keeps the allowed loss and slows nobody down on the whole. The paper applies the one with the
highest ratio of latency saved to accuracy lost, and leaves two cases open. Here savings at no loss count as an infinite
ratio, the largest saving first; a trial that changes nothing has ratio 0: it is applied when nothing better is left.
Remaining ties: the shallowest ramp. A ramp that is not chosen though its trial lost nothing doubles its step as well:
the text is silent, the public code does so, and the path printed in figure 9 - (0, .1) then (.2, .1) - is impossible
otherwise.

The public code applies the trial with the least loss per latency saved; without one, the first that is free, that is,
leaves accuracy or latency as it was. It halves steps only where nothing was feasible. (It drops a best ramp 0 in favour
of any free one, since 0 is falsy; that slip is not repeated here.)
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from exeunt.manifest import Costs
from exeunt.tuning.apparate.bitset_rows import BitsetRows
from exeunt.tuning.evidence import Evidence

LARGEST_THRESHOLD = 1.0  # the error score's range is 0..1
SLACK = 1e-9  # against rounding in allowed_loss * rows
LEAST_SEEN_ROWS = 16  # an exit seen on fewer rows (or than all of a shorter window) is not opened

Trial = tuple[int, float, int, bool, list[int]]
"""Best ramp of a round (-1: none is feasible), its threshold, how many rows are below that, whether it is free; and
the ramps whose steps were too large."""


@dataclass(frozen=True, slots=True)
class SearchRules:
    """What the paper and the public code do differently in one search.

    Attributes:
        start_step: first step of every ramp.
        floor_step: smallest step.
        public: choose and halve as the public code does, else as the paper does.
    """

    start_step: float
    floor_step: float
    public: bool = False


PAPER = SearchRules(start_step=0.1, floor_step=0.01)
PUBLIC_CODE = SearchRules(start_step=0.01, floor_step=0.001, public=True)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Where a search went.

    Attributes:
        thresholds: threshold per ramp, in the order of the ramps.
        path: thresholds after each applied trial, the zeros of the start included.
    """

    thresholds: tuple[float, ...]
    path: tuple[tuple[float, ...], ...]


class Standing:
    """Who leaves where by the present thresholds.

    Attributes:
        reached: by ramp, how many rows are below its threshold; `update` is called after a change.
        open_rows: by ramp, the set of rows that come to it.
        leaving: by ramp, the set of rows that leave there, and nanoseconds that each saves.
        lossy: the set of rows that leave with a wrong answer.
        bearable: how many more wrong answers are allowed.
    """

    __slots__ = ("_allowed", "_rows", "bearable", "leaving", "lossy", "open_rows", "reached")

    def __init__(self, rows: BitsetRows, allowed: float) -> None:
        self._rows, self._allowed = rows, allowed
        self.reached = [bisect_left(ramp[0], 0.0) for ramp in rows.ramps]
        self.open_rows = [rows.rows] * len(rows.ramps)
        self.leaving = [(0, 0)] * len(rows.ramps)
        self.update()

    def update(self) -> None:
        """Find anew who leaves where."""
        rows, reached, open_rows, leaving = self._rows, self.reached, self.open_rows, self.leaving
        staying, lossy = rows.rows, 0
        for ramp, (_, below, wrong, saved_ns) in enumerate(rows.ramps):
            open_rows[ramp] = staying
            leaves = below[reached[ramp]] & staying
            leaving[ramp] = leaves, saved_ns
            lossy |= leaves & wrong
            staying ^= leaves
        self.lossy, self.bearable = lossy, self._allowed - rows.count(lossy)


def search_thresholds(
    evidence: Evidence, ramps: Sequence[int], latency_us: np.ndarray, allowed_loss: float, rules: SearchRules = PAPER
) -> SearchResult:
    """Find thresholds on `evidence`.

    Args:
        evidence: rows; where a ramp was not seen, the row does not leave there.
        ramps: exits before the last that may let rows leave, in depth order.
        latency_us: float64 [exits], latency of an answer at each exit.
        allowed_loss: largest share of wrong answers, 0..1.
        rules: PAPER or PUBLIC_CODE, or steps of one's own.

    Returns:
        the thresholds and the path to them; zeros where there are no rows.
    """
    thresholds = [0.0] * len(ramps)
    path = [tuple(thresholds)]
    if not len(evidence):
        return SearchResult(path[0], tuple(path))
    rows = BitsetRows(evidence, ramps, latency_us)
    steps = [rules.start_step] * len(ramps)
    standing = Standing(rows, allowed_loss * rows.count(rows.rows) + SLACK)
    reached, public = standing.reached, rules.public
    for best, raised, below, free, overstepped in _best_trials(rows, standing, thresholds, steps, public):
        halved = overstepped and (best < 0 or not public) and _halve(steps, overstepped, rules.floor_step)
        if best >= 0:
            if not free:
                steps[best] *= 2
            thresholds[best] = raised
            path.append(tuple(thresholds))
            if below != reached[best]:
                reached[best] = below
                standing.update()
        elif not halved:
            break
    return SearchResult(path[-1], tuple(path))


def _best_trials(
    rows: BitsetRows, standing: Standing, thresholds: list[float], steps: list[float], public: bool
) -> Iterator[Trial]:
    """The best trial of every round; the caller applies it before it asks for the next.

    A generator, since a call per round would bind all these names anew: on 16 rows that takes as long as a trial.

    Args:
        rows: of the search.
        standing: by the present thresholds.
        thresholds: by ramp; so for `steps`, of which those of free trials are doubled here.
        steps: see `thresholds`.
        public: see SearchRules.
    """
    by_ramp, count, top, infinite = rows.ramps, rows.count, LARGEST_THRESHOLD, math.inf
    reached, open_rows, leaving = standing.reached, standing.open_rows, standing.leaving
    best_raised = most = most_saved = least_lost = 0.0
    best_then, best_free = 0, True
    while True:
        lossy, bearable = standing.lossy, standing.bearable
        best = -1
        overstepped: list[int] = []
        for ramp, (ranked, below, wrong, saved_ns) in enumerate(by_ramp):
            if (threshold := thresholds[ramp]) >= top:
                continue
            raised = threshold + steps[ramp]
            raised = raised if raised < top else top
            then = bisect_left(ranked, raised, now := reached[ramp])
            saved = lost = 0.0
            if then != now and (moved := (below[then] ^ below[now]) & open_rows[ramp]):
                lost = count(moved & wrong) - (count(moved & lossy) if lossy else 0)
                if lost > bearable:
                    overstepped.append(ramp)
                    continue
                saved = count(moved) * saved_ns  # were they to stay to the end; those who leave later save less
                for leaves, later_ns in leaving[ramp + 1 :]:
                    saved -= count(later) * later_ns if (later := moved & leaves) else 0
                if saved < 0:
                    overstepped.append(ramp)
                    continue
            if not (lost and saved) if public else lost <= 0:  # free
                steps[ramp] *= 2
                merit, free = -infinite if public else infinite if saved else 0.0, True
            else:
                merit, free = -abs(lost) / saved if public else saved / lost, False
            if (
                best < 0
                or merit > most
                or (merit == most and not public and (saved, -lost) > (most_saved, -least_lost))
            ):
                best, best_raised, best_then, best_free = ramp, raised, then, free
                most, most_saved, least_lost = merit, saved, lost
        yield best, best_raised, best_then, best_free, overstepped


def _halve(steps: list[float], overstepped: list[int], floor: float) -> bool:
    """Halve steps that went too far, down to the floor; whether any could be."""
    halved = False
    for ramp in overstepped:
        if (step := steps[ramp]) > floor:
            half = step / 2 if step < LARGEST_THRESHOLD else LARGEST_THRESHOLD / 2
            steps[ramp] = half if half > floor else floor
            halved = True
    return halved


def searched_thresholds(
    evidence: Evidence, costs: Costs, active: np.ndarray, allowed_loss: float, rules: SearchRules
) -> np.ndarray:
    """Thresholds by a search for a set of active exits, on the rows that were seen at all of them.

    An active exit that was seen on too few rows (just activated) keeps threshold 0 and is left out of the search.

    Args:
        evidence: the search window.
        costs: of the exits.
        active: bool [exits].
        allowed_loss: largest share of wrong answers, 0..1.
        rules: steps of the search.

    Returns:
        float64 [exits], 0 where nobody leaves, NaN at the last.
    """
    thresholds = np.zeros(len(active))
    thresholds[-1] = np.nan
    ramps, rows = comparable(evidence, active)
    if len(ramps):
        thresholds[ramps] = search_thresholds(
            rows, ramps.tolist(), costs.latency_us(active), allowed_loss, rules
        ).thresholds
    return thresholds


def comparable(evidence: Evidence, active: np.ndarray) -> tuple[np.ndarray, Evidence]:
    """Active exits before the last that were seen on enough rows, int64 [ramps], and the rows that were seen at all."""
    ramps = np.flatnonzero(active[:-1])
    least = min(LEAST_SEEN_ROWS, len(evidence))
    ramps = ramps[(evidence.errors[:, ramps] < np.inf).sum(axis=0) >= least]
    rows = evidence.rows(evidence.seen(ramps))
    return (ramps, rows) if len(rows) >= least else (ramps[:0], rows)
