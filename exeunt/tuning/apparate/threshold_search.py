"""Apparate's greedy hill climb over per-ramp thresholds (SOSP'24, section 3.2, algorithm 1, figure 9).

All thresholds start at 0. In each round every ramp alone tries its threshold plus its step. Of the trials that keep
the allowed loss, the one that saves most latency per accuracy lost is applied and its step doubles; steps of trials
that lost too much halve, down to a floor. The search ends when nothing can be raised by the smallest step.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exeunt.manifest import Costs
from exeunt.tuning.apparate.bitset_rows import BitsetRows
from exeunt.tuning.evidence import Evidence

LARGEST_THRESHOLD = 1.0  # the error score's range is 0..1
SLACK = 1e-9  # against rounding in allowed_loss * rows
LEAST_SEEN_ROWS = 16  # an exit seen on fewer rows (or than all of a shorter window) is not opened

INFINITE = math.inf


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


def search_thresholds(  # noqa: C901 - in one piece, since on 16 rows calls would take longer than the work that they do
    evidence: Evidence, ramps: Sequence[int], latency_us: np.ndarray, allowed_loss: float, rules: SearchRules = PAPER
) -> SearchResult:
    """Find thresholds on `evidence`.

    A trial is feasible if it keeps the allowed loss and slows nobody down on the whole. The paper applies the one with
    the highest ratio of latency saved to accuracy lost, and leaves two cases open. Here savings at no loss count as an
    infinite ratio, the largest saving first; a trial that changes nothing has ratio 0: it is applied when nothing
    better is left. Remaining ties: the shallowest ramp. A ramp that is not chosen though its trial lost nothing doubles
    its step as well: the text is silent, the public code does so, and the path printed in figure 9 - (0, .1) then
    (.2, .1) - is impossible otherwise.

    The public code applies the trial with the least loss per latency saved; without one, the first that is free, that
    is, leaves accuracy or latency as it was. It halves steps only where nothing was feasible. (It drops a best ramp 0
    in favour of any free one, since 0 is falsy; that slip is not repeated here.)

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
    slope = BitsetRows(evidence, ramps, latency_us)
    sight, count, public, floor = slope.ramps, slope.count, rules.public, rules.floor_step
    steps = [rules.start_step] * len(ramps)
    reached = [bisect_left(ramp[0], 0.0) for ramp in sight]  # how many rows are below each threshold
    allowed = allowed_loss * count(slope.rows) + SLACK
    open_, lossy_before, leaving = [slope.rows] * len(ramps), [0] * len(ramps), [(0, 0)] * len(ramps)
    changed = 0
    best_raised = most = most_saved = least_lost = bearable = 0.0
    best_then, best_free = 0, True
    while True:
        if changed < len(sight):  # who leaves where, from the ramp on whose threshold was raised
            left, lossy = open_[changed], lossy_before[changed]
            for ramp in range(changed, len(sight)):
                _, below, wrong, saved_ns = sight[ramp]
                open_[ramp], lossy_before[ramp] = left, lossy
                leaves = below[reached[ramp]] & left
                leaving[ramp] = leaves, saved_ns
                lossy |= leaves & wrong
                left ^= leaves
            bearable = allowed - count(lossy)
            changed = len(sight)
        best = -1
        overstepped: list[int] = []
        for ramp, (ranked, below, wrong, saved_ns) in enumerate(sight):
            threshold = thresholds[ramp]
            if threshold >= LARGEST_THRESHOLD:
                continue
            raised = threshold + steps[ramp]
            if raised > LARGEST_THRESHOLD:
                raised = LARGEST_THRESHOLD
            now = reached[ramp]
            then = bisect_left(ranked, raised, now)
            moved = (below[then] ^ below[now]) & open_[ramp] if then != now else 0
            saved = lost = 0.0
            if moved:
                lost = count(moved & wrong)
                if lossy:
                    lost -= count(moved & lossy)
                if lost > bearable:
                    overstepped.append(ramp)
                    continue
                saved = count(moved) * saved_ns  # were they to stay to the end; those who leave later save less
                for leaves, later_ns in leaving[ramp + 1 :]:
                    if taken := moved & leaves:
                        saved -= count(taken) * later_ns
                if saved < 0:
                    overstepped.append(ramp)
                    continue
            if not (lost and saved) if public else lost <= 0:  # free
                steps[ramp] *= 2
                merit, free = -INFINITE if public else INFINITE if saved else 0.0, True
            else:
                merit, free = -abs(lost) / saved if public else saved / lost, False
            if (
                best < 0
                or merit > most
                or (merit == most and not public and (saved, -lost) > (most_saved, -least_lost))
            ):
                best, best_raised, best_then, best_free = ramp, raised, then, free
                most, most_saved, least_lost = merit, saved, lost
        halved = False
        if best < 0 or not public:
            for ramp in overstepped:
                step = steps[ramp]
                if step > floor:
                    half = step / 2 if step < LARGEST_THRESHOLD else LARGEST_THRESHOLD / 2
                    steps[ramp] = half if half > floor else floor
                    halved = True
        if best >= 0:
            if not best_free:
                steps[best] *= 2
            thresholds[best] = best_raised
            if best_then != reached[best]:
                reached[best], changed = best_then, best
            path.append(tuple(thresholds))
        elif not halved:
            return SearchResult(path[-1], tuple(path))


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
