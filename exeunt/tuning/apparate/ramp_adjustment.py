"""Apparate's ramp adjustment: which exits are worth offering (SOSP'24, section 3.3, algorithm 2, figure 11).

Positions are exits before the last. A ramp's *utility* is what it saved less what it cost: the latency avoided by the
rows that left there, minus its own time on the rows that passed it without leaving. A round of adjustment

- with a negative utility: tunes thresholds once more, and is done if that makes every utility positive without losing
  savings; else deactivates all negative ramps and tries one deeper ramp in their place, chosen by an upper bound on
  the rows that can leave there. Which ramps are negative is judged under the new thresholds, unless these lose
  savings: while all thresholds are 0, every ramp is negative under the old ones, and one bad ramp would end them all;
- else probes: one ramp just before the best one if the budget allows, else the worst one moves a position earlier.

A new ramp starts with threshold 0: a trial that the next tuning opens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from exeunt.manifest import Costs
from exeunt.tuning.evidence import Evidence

Tune = Callable[[np.ndarray], np.ndarray]  # active, bool [exits] -> thresholds, float64 [exits]


@dataclass(frozen=True, slots=True)
class RampSet:
    """The exits offered and their thresholds.

    Attributes:
        active: bool [exits]; the last is True.
        thresholds: float64 [exits]; 0 where inactive, NaN at the last.
    """

    active: np.ndarray
    thresholds: np.ndarray

    @property
    def ramps(self) -> np.ndarray:
        """Active positions, ascending; int64 [ramps]."""
        return np.flatnonzero(self.active[:-1])

    def changed(self, off: Sequence[int] | np.ndarray, on: Sequence[int] | np.ndarray) -> RampSet:
        """The set with ramps `off` removed and ramps `on` added; both get threshold 0."""
        active, thresholds = self.active.copy(), self.thresholds.copy()
        active[list(off)] = False
        active[list(on)] = True
        thresholds[[*off, *on]] = 0.0
        return RampSet(active, thresholds)


def closed_set(active: np.ndarray) -> RampSet:
    """A set in which nobody leaves early, from bool [exits]."""
    thresholds = np.zeros(len(active))
    thresholds[-1] = np.nan
    return RampSet(active.copy(), thresholds)


def useful(costs: Costs) -> np.ndarray:
    """Positions where an answer, the ramp's own time included, comes before the full one; int64 [positions]."""
    return np.flatnonzero(costs.elapsed_us[:-1] + costs.head_us[:-1] < costs.elapsed_us[-1])


def first_set(costs: Costs, budget_us: float) -> RampSet:
    """Start state: as many ramps as the budget allows, evenly spaced over the useful positions, nobody leaving.

    Args:
        costs: of the exits.
        budget_us: most the active ramps may cost together. Where no single ramp fits, none is active.
    """
    positions = useful(costs)
    active = np.zeros(len(costs.elapsed_us), dtype=bool)
    active[-1] = True
    for ramps in range(len(positions), 0, -1):
        spaced = np.linspace(-1, len(positions), ramps + 2)[1:-1]
        ramps_at = positions[np.floor(spaced + 0.5).astype(int)]
        if costs.head_us[ramps_at].sum() <= budget_us:
            active[ramps_at] = True
            break
    return closed_set(active)


def utilities(evidence: Evidence, costs: Costs, in_use: RampSet) -> np.ndarray:
    """Utility of each active ramp, microseconds summed over weighted rows; NaN where not active; float64 [exits].

    Args:
        evidence: rows on which every active ramp was seen.
        costs: of the exits. Latency avoided is counted without ramps, as in the paper.
        in_use: ramps and thresholds; what rows would do under them counts, not what they did under older ones.
    """
    exits = len(costs.elapsed_us)
    leaving = np.bincount(
        evidence.first_exit(in_use.thresholds, in_use.active), weights=evidence.weight, minlength=exits
    )
    passed = leaving.sum() - np.cumsum(leaving)
    utility = leaving * (costs.elapsed_us[-1] - costs.elapsed_us) - passed * costs.head_us
    utility[-1] = np.nan
    return np.asarray(np.where(in_use.active, utility, np.nan))


def intervals(deepest_positive: int, removed: Sequence[int], positions: Sequence[int]) -> list[list[int]]:
    """Positions behind the deepest positive ramp, split at the removed ramps; empty ones left out.

    >>> intervals(3, [7, 9], range(12))
    [[4, 5, 6], [8], [10, 11]]
    """
    parts: list[list[int]] = [[]]
    for position in positions:
        if position in removed:
            parts.append([])
        elif position > deepest_positive:
            parts[-1].append(position)
    return [part for part in parts if part]


def bound_rate(candidate: int, removed_rates: dict[int, float]) -> float:
    """Upper bound on the share of rows that would leave at a candidate.

    The exit rates of the removed ramps before it, which it takes over, plus that of the next one behind it, since later
    ramps let at least as many leave. (Figure 11 prints 10 %, 20 %, 20 % for its example; the text's rule, taken here,
    gives 5 %, 15 %, 15 %.)

    >>> [round(bound_rate(candidate, {7: 0.05, 9: 0.10}), 2) for candidate in (5, 8, 10)]
    [0.05, 0.15, 0.15]
    """
    earlier = sum(rate for position, rate in removed_rates.items() if position < candidate)
    following = min((position for position in removed_rates if position > candidate), default=None)
    return earlier + (0.0 if following is None else removed_rates[following])


def best_candidate(
    parts: Sequence[Sequence[int]], removed_rates: dict[int, float], reach: float, costs: Costs, room_us: float
) -> int | None:
    """The candidate of highest positive bounded utility; None where there is none.

    First the middle of every interval is a candidate; while no utility is positive, the middle of what lies behind.

    Args:
        parts: positions, see `intervals`.
        removed_rates: exit rate by removed position behind the deepest positive ramp.
        reach: share of rows that the kept ramps let pass.
        costs: of the exits.
        room_us: budget left; costlier candidates are passed over.
    """
    unexplored = [list(part) for part in parts]
    while any(unexplored):
        best, best_utility = None, 0.0
        for part in filter(None, unexplored):
            candidate = part[(len(part) - 1) // 2]
            rate = min(bound_rate(candidate, removed_rates), reach)
            avoided_us = rate * (costs.elapsed_us[-1] - costs.elapsed_us[candidate])
            utility = avoided_us - (reach - rate) * costs.head_us[candidate]
            if utility > best_utility and costs.head_us[candidate] <= room_us:
                best, best_utility = candidate, utility
        if best is not None:
            return best
        unexplored = [part[(len(part) + 1) // 2 :] for part in unexplored]
    return None


def probe(in_use: RampSet, utility: np.ndarray, costs: Costs, budget_us: float) -> RampSet:
    """The cautious step when every ramp pays.

    Args:
        in_use: the ramps, at least one.
        utility: of each, see `utilities`.
        costs: of the exits.
        budget_us: most that the active ramps may cost together.
    """
    room_us = budget_us - costs.head_us[in_use.ramps].sum()
    best = int(np.nanargmax(utility))
    if _free(best - 1, in_use) and costs.head_us[best - 1] <= room_us:
        return in_use.changed(off=[], on=[best - 1])
    worst = int(np.nanargmin(utility))
    moved_us = costs.head_us[worst - 1] - costs.head_us[worst]
    if worst != best and _free(worst - 1, in_use) and moved_us <= room_us:
        return in_use.changed(off=[worst], on=[worst - 1])
    return in_use


def _free(position: int, in_use: RampSet) -> bool:
    return position >= 0 and not in_use.active[position]


def adjust(evidence: Evidence, costs: Costs, in_use: RampSet, budget_us: float, tune: Tune) -> RampSet:
    """One round of adjustment.

    Args:
        evidence: the newest rows, every active ramp seen on each.
        costs: of the exits.
        in_use: the ramps and thresholds in force.
        budget_us: most that the active ramps may cost together.
        tune: finds thresholds for a set of active exits, on rows of its own choice.

    Returns:
        the set to go on with; `in_use` itself if nothing changes. With no ramp active, the start state: the paper has
        no rule for it, and no data would ever come back otherwise.
    """
    if not len(in_use.ramps):
        return first_set(costs, budget_us)
    if not len(evidence):
        return in_use
    utility = utilities(evidence, costs, in_use)
    if not (utility < 0).any():
        return probe(in_use, utility, costs, budget_us)
    tuned = RampSet(in_use.active, tune(in_use.active))
    if _latency(evidence, costs, tuned) <= _latency(evidence, costs, in_use):
        in_use, utility = tuned, utilities(evidence, costs, tuned)
    negative = np.flatnonzero(utility < 0)
    return _replaced(evidence, costs, in_use, negative, budget_us) if len(negative) else in_use


def _latency(evidence: Evidence, costs: Costs, ramps: RampSet) -> float:
    first = evidence.first_exit(ramps.thresholds, ramps.active)
    return evidence.latency_us(first, costs.latency_us(ramps.active))


def _replaced(evidence: Evidence, costs: Costs, in_use: RampSet, negative: np.ndarray, budget_us: float) -> RampSet:
    """The set without its negative ramps, one candidate in their place if any may pay."""
    first = evidence.first_exit(in_use.thresholds, in_use.active)
    rates = np.bincount(first, weights=evidence.weight, minlength=len(costs.elapsed_us)) / evidence.weight.sum()
    remaining = in_use.changed(off=negative, on=[])
    deepest = int(remaining.ramps[-1]) if len(remaining.ramps) else -1
    removed = [int(ramp) for ramp in negative if ramp > deepest]
    added = best_candidate(
        intervals(deepest, removed, useful(costs).tolist()),
        {ramp: float(rates[ramp]) for ramp in removed},
        1.0 - float(rates[remaining.ramps].sum()),
        costs,
        budget_us - float(costs.head_us[remaining.ramps].sum()),
    )
    return remaining if added is None else remaining.changed(off=[], on=[added])
