"""Apparate's greedy hill climb over per-ramp thresholds (SOSP'24, section 3.2, algorithm 1, figure 9).

All thresholds start at 0. In each round every ramp alone tries its threshold plus its step. Of the trials that keep
the allowed loss, the one that saves most latency per accuracy lost is applied and its step doubles; steps of trials
that lost too much halve, down to a floor. The climb ends when nothing can be raised by the smallest step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exeunt.manifest import Costs
from exeunt.tuning.evidence import Evidence
from exeunt.tuning.slope import LARGEST_THRESHOLD, Slope, Trial

LEAST_SEEN_ROWS = 16  # an exit seen on fewer rows (or than all of a shorter window) is not opened


@dataclass(frozen=True, slots=True)
class Rules:
    """What the paper and the public code do differently in one climb.

    Attributes:
        start_step: first step of every ramp.
        floor_step: smallest step.
        public: choose and halve as the public code does, else as the paper does.
    """

    start_step: float
    floor_step: float
    public: bool = False


PAPER = Rules(start_step=0.1, floor_step=0.01)
PUBLIC_CODE = Rules(start_step=0.01, floor_step=0.001, public=True)


@dataclass(frozen=True, slots=True)
class Climbed:
    """Where a climb went.

    Attributes:
        thresholds: threshold per ramp, in the order of the ramps.
        path: thresholds after each applied trial, the zeros of the start included.
    """

    thresholds: tuple[float, ...]
    path: tuple[tuple[float, ...], ...]


def climb(
    evidence: Evidence, ramps: Sequence[int], latency_us: np.ndarray, allowed_loss: float, rules: Rules = PAPER
) -> Climbed:
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
        return Climbed(path[0], tuple(path))
    steps = [rules.start_step] * len(ramps)
    slope = Slope(evidence, ramps, latency_us, allowed_loss)
    choose, halve = (_choose_public, _halve_public) if rules.public else (_choose_paper, _halve_paper)
    while True:
        feasible, overstepped = slope.trials(thresholds, steps)
        chosen = choose(feasible, steps) if feasible else None
        halved = overstepped and halve(steps, feasible, overstepped, rules.floor_step)
        if chosen is not None:
            slope.apply(chosen)
            thresholds[chosen[0]] = chosen[1]
            path.append(tuple(thresholds))
        elif not halved:
            return Climbed(path[-1], tuple(path))


def searched_thresholds(
    evidence: Evidence, costs: Costs, active: np.ndarray, allowed_loss: float, rules: Rules
) -> np.ndarray:
    """Thresholds by climb for a set of active exits, on the rows that were seen at all of them.

    An active exit that was seen on too few rows (just activated) keeps threshold 0 and is left out of the climb.

    Args:
        evidence: the search window.
        costs: of the exits.
        active: bool [exits].
        allowed_loss: largest share of wrong answers, 0..1.
        rules: steps of the climb.

    Returns:
        float64 [exits], 0 where nobody leaves, NaN at the last.
    """
    thresholds = np.zeros(len(active))
    thresholds[-1] = np.nan
    ramps, rows = comparable(evidence, active)
    if len(ramps):
        thresholds[ramps] = climb(rows, ramps.tolist(), costs.latency_us(active), allowed_loss, rules).thresholds
    return thresholds


def comparable(evidence: Evidence, active: np.ndarray) -> tuple[np.ndarray, Evidence]:
    """Active exits before the last that were seen on enough rows, int64 [ramps], and the rows that were seen at all."""
    ramps = np.flatnonzero(active[:-1])
    least = min(LEAST_SEEN_ROWS, len(evidence))
    ramps = ramps[(evidence.errors[:, ramps] < np.inf).sum(axis=0) >= least]
    rows = evidence.rows(evidence.seen(ramps))
    return (ramps, rows) if len(rows) >= least else (ramps[:0], rows)


def _choose_paper(feasible: Sequence[Trial], steps: list[float]) -> Trial:
    """The trial with the highest ratio of latency saved to accuracy lost; its step doubles.

    The paper leaves two cases open. Savings at no loss count as an infinite ratio, the largest saving first; a trial
    that changes nothing has ratio 0: it is applied when nothing better is left. Remaining ties: the shallowest ramp.

    A ramp that is not chosen though its trial lost nothing doubles its step as well: the text is silent, the public
    code does so, and the path printed in figure 9 - (0, .1) then (.2, .1) - is impossible otherwise.
    """
    best, best_ratio, best_saved, best_lost = feasible[0], -1.0, 0.0, 0.0
    for trial in feasible:
        ramp, _, saved, lost = trial
        if lost <= 0:
            ratio = math.inf if saved else 0.0
            steps[ramp] *= 2
        else:
            ratio = saved / lost
        if ratio > best_ratio or (ratio == best_ratio and (saved, best_lost) > (best_saved, lost)):
            best, best_ratio, best_saved, best_lost = trial, ratio, saved, lost
    if best_lost > 0:
        steps[best[0]] *= 2
    return best


def _halve_paper(steps: list[float], feasible: Sequence[Trial], overstepped: Sequence[int], floor: float) -> bool:
    """Halve, down to `floor`, the steps of the ramps that overstepped; True if any changed."""
    return _halve(steps, overstepped, floor)


def _choose_public(feasible: Sequence[Trial], steps: list[float]) -> Trial:
    """The trial with the least loss per latency saved; without one, the first that is free; the shallowest of ties.

    Free is a trial that leaves accuracy or latency as it was; the steps of free ramps double, and the chosen ramp's.
    (The public code drops a best ramp 0 in favour of any free one, since 0 is falsy; that slip is not repeated here.)
    """
    best, least, free = None, math.inf, None
    for trial in feasible:
        ramp, _, saved, lost = trial
        if not lost or not saved:
            free = free or trial
            steps[ramp] *= 2
        elif abs(lost) / saved < least:
            best, least = trial, abs(lost) / saved
    if best is not None:
        steps[best[0]] *= 2
    return best or free or feasible[0]


def _halve_public(steps: list[float], feasible: Sequence[Trial], overstepped: Sequence[int], floor: float) -> bool:
    """Halve every step, down to `floor`, where nothing was feasible; True if any changed."""
    return not feasible and _halve(steps, overstepped, floor)


def _halve(steps: list[float], ramps: Sequence[int], floor: float) -> bool:
    changed = False
    for ramp in ramps:
        if steps[ramp] > floor:
            steps[ramp] = max(floor, min(LARGEST_THRESHOLD, steps[ramp]) / 2)
            changed = True
    return changed
