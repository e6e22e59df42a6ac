"""Choosing a schedule: the sequence of (member, segment) steps, and at which of its states there is an exit.

A state is a depth for each member; a path goes from "nothing has run" to the full ensemble, one segment at a time, and
every state on it may be an exit. `cascade` takes whole members one after another, in the order that is fastest; `auto`
searches all orders of segments (beam search). Both then leave out the exits that save least. Everything is judged on
calibration rows: rows leave where the risk of the exit's vote is below one common limit, the highest one that keeps the
loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from exeunt.deciding import votes
from exeunt.engine.exit_times import Depths, exit_times
from exeunt.tuning.isotonic import pooled
from exeunt_export.schedule.exit_weights import fitted_weights

BEAM = 24  # paths kept per step
LIMITS = (0.01, 0.03, 0.1, 0.2)  # risks below which rows leave while the beam searches
MOST_ORDERS = 4  # members of which all orders are tried; larger bags go by cost


@dataclass(frozen=True, slots=True)
class ScheduleInputs:
    """What a schedule is chosen from.

    Attributes:
        segments_us: per member the time of each segment, one row.
        told: (member, depth) -> float32 [rows, classes] on the calibration rows, for every depth from 1.
        weights: the bag's, any scale.
        vote: "soft" or "hard".
        workers: runs at a time.
        max_loss: promised share of answers that differ from the full vote.
        exit_us: what one exit adds to the time of all that come later: heads and the decision.
        most_exits: most exits before the last.
    """

    segments_us: Sequence[Sequence[float]]
    told: Mapping[tuple[int, int], np.ndarray]
    weights: Sequence[float]
    vote: str
    workers: int
    max_loss: float
    exit_us: float = 0.0
    most_exits: int = 6

    @property
    def full(self) -> Depths:
        """Depths of the last exit."""
        return tuple(len(own) for own in self.segments_us)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Exits in order, the last the full ensemble.

    Attributes:
        exits: depths by member.
        weights: by exit a weight per member, 0 where it does not vote; None where the bag's rule.
        latency_us: expected time of an answer on the calibration rows, on an idle machine.
        loss: share of them that differ from the full vote.
    """

    exits: tuple[Depths, ...]
    weights: tuple[tuple[float, ...] | None, ...]
    latency_us: float
    loss: float


def choose(kind: str, known: ScheduleInputs, aligned: Sequence[Depths]) -> Schedule:
    """The best schedule of a kind.

    Args:
        kind: "parallel", "cascade" or "auto"; the last also considers what the other two would give.
        known: costs and calibration.
        aligned: exits of the parallel schedule.
    """
    judge = ScheduleEvaluator(known)
    parallel = judge.schedule(aligned)
    if kind == "parallel":
        return parallel
    cascade = min((judge.pruned(path) for path in _cascades(known, judge)), key=lambda each: each.latency_us)
    if kind == "cascade":
        return cascade
    found = [judge.pruned(path) for limit in LIMITS for path in _beam(judge, limit)[:2]]
    return min([*found, cascade, judge.pruned(aligned)], key=lambda each: each.latency_us)


class ScheduleEvaluator:
    """Says what a list of exits is worth on the calibration rows; remembers every state's vote.

    Args:
        known: costs and calibration.
    """

    def __init__(self, known: ScheduleInputs) -> None:
        self.known = known
        self._states: dict[Depths, tuple[tuple[float, ...] | None, np.ndarray, np.ndarray]] = {}
        members = range(len(known.segments_us))
        given = [known.told[member, known.full[member]] for member in members]
        self.full = votes.labels(votes.vote(given, list(known.weights), known.vote))

    def state(self, depths: Depths) -> tuple[tuple[float, ...] | None, np.ndarray, np.ndarray]:
        """(weights by member, risk [rows], loss bool [rows]) of the vote at a state."""
        if depths not in self._states:
            voting = [member for member, depth in enumerate(depths) if depth]
            given = [self.known.told[member, depths[member]] for member in voting]
            bag = [float(self.known.weights[member]) for member in voting]
            weights = None
            if depths != self.known.full:
                heard = given if self.known.vote == "soft" else [votes.one_hot(each) for each in given]
                bag = list(fitted_weights(heard, bag, self.full))
                by_member = dict(zip(voting, bag, strict=True))
                weights = tuple(by_member.get(member, 0.0) for member in range(len(depths)))
            vote = votes.vote(given, bag, self.known.vote)
            wrong = votes.labels(vote) != self.full
            self._states[depths] = weights, risk_of(vote.max(axis=1), wrong), wrong
        return self._states[depths]

    def schedule(self, exits: Sequence[Depths]) -> Schedule:
        """ScheduleEvaluator a list of exits."""
        told = [self.state(depths) for depths in exits]
        times = exit_times(self.known.segments_us, exits, self.known.workers)
        spent = np.array([time + place * self.known.exit_us for place, time in enumerate(times)])
        risk = np.stack([each[1] for each in told[:-1]] + [np.full(len(self.full), -1.0)], axis=1)
        wrong = np.stack([each[2] for each in told[:-1]] + [np.zeros(len(self.full), dtype=bool)], axis=1)
        latency_us, loss = _at_best_limit(risk, wrong, spent, self.known.max_loss)
        return Schedule(tuple(exits), tuple(each[0] for each in told), latency_us, loss)

    def pruned(self, path: Sequence[Depths]) -> Schedule:
        """At most `most_exits` early exits of a path, the least useful left out one by one.

        Exits beyond those that pay on the calibration rows are kept up to that number: when inputs get harder others
        pay, and an inactive exit costs next to nothing. The latency is that of the best subset, which a tuner finds.
        """
        best = kept = now = self.schedule(path)
        while len(now.exits) > 1:
            shorter = (now.exits[:place] + now.exits[place + 1 :] for place in range(len(now.exits) - 1))
            now = min((self.schedule(each) for each in shorter), key=lambda each: each.latency_us)
            if len(now.exits) >= 1 + self.known.most_exits:
                kept = now
            if now.latency_us > best.latency_us and len(now.exits) <= self.known.most_exits:
                break
            best = min(best, now, key=lambda each: each.latency_us)
        return replace(kept, latency_us=best.latency_us, loss=best.loss)


def risk_of(confidence: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Risk by confidence: isotonic regression (pool adjacent violators), drawn to 1/2 by one row per pool.

    Args:
        confidence: float [rows].
        wrong: bool [rows].

    Returns:
        float64 [rows], non-increasing in the confidence.
    """
    order = np.argsort(-confidence, kind="stable")
    means, starts = pooled(wrong[order].astype(np.float64), np.ones(len(wrong)))
    rows = np.diff(np.append(starts, len(wrong)))
    risk = np.empty(len(wrong))
    risk[order] = np.repeat((means * rows + 0.5) / (rows + 1), rows)
    return risk


def _at_best_limit(risk: np.ndarray, wrong: np.ndarray, spent: np.ndarray, max_loss: float) -> tuple[float, float]:
    """(mean latency, loss) at the highest common limit on the risk that keeps the loss; bisection over the risks."""
    limits = np.unique(risk)
    low, high = 0, len(limits)  # at limits[0] nobody leaves early: the last exit's risk is -1
    best = (float(spent[-1]), 0.0)
    rows = np.arange(len(risk))
    while low < high:
        middle = (low + high) // 2
        first = (risk <= limits[middle]).argmax(axis=1) if middle else np.full(len(risk), len(spent) - 1)
        loss = float(wrong[rows, first].mean())
        if loss <= max_loss:
            best = min(best, (float(spent[first].mean()), loss))
            low = middle + 1
        else:
            high = middle
    return best


def _cascades(known: ScheduleInputs, judge: ScheduleEvaluator) -> list[list[Depths]]:
    """Paths that take whole members one after another."""
    members = range(len(known.segments_us))
    cost = [sum(own) for own in known.segments_us]
    few = len(known.segments_us) <= MOST_ORDERS
    orders = permutations(members) if few else [tuple(sorted(members, key=cost.__getitem__))]
    return [_path(known, [member for member in order for _ in known.segments_us[member]]) for order in orders]


def _path(known: ScheduleInputs, steps: Sequence[int]) -> list[Depths]:
    depths = [0] * len(known.segments_us)
    states = []
    for member in steps:
        depths[member] += 1
        states.append(tuple(depths))
    return states


@dataclass(frozen=True, slots=True)
class _Partial:
    """A path that has come some way.

    Attributes:
        steps: members whose next segment ran, in order.
        depths: the state.
        workers_us: when each worker is free.
        members_us: when each member has run so far.
        now_us: when the state is reached.
        left: bool [rows], answered at or before the state.
        spent_us: summed time, over rows that have left, of their answers.
    """

    steps: tuple[int, ...]
    depths: Depths
    workers_us: tuple[float, ...]
    members_us: tuple[float, ...]
    now_us: float
    left: np.ndarray
    spent_us: float


def _beam(judge: ScheduleEvaluator, limit: float) -> list[list[Depths]]:
    """The best paths, at a fixed limit on the risk, best first."""
    known = judge.known
    rows, count = len(judge.full), len(known.full)
    work_us = sum(sum(own) for own in known.segments_us)
    end_us = max(work_us / known.workers, max(sum(own) for own in known.segments_us))
    start = _Partial((), (0,) * count, (0.0,) * known.workers, (0.0,) * count, 0.0, np.zeros(rows, dtype=bool), 0.0)

    def expected_us(path: _Partial) -> float:
        return path.spent_us + float((~path.left).sum()) * max(end_us, path.now_us)

    beam = [start]
    for _ in range(sum(known.full)):
        longer = [
            _after(judge, path, m, limit) for path in beam for m in range(count) if path.depths[m] < known.full[m]
        ]
        beam = []
        seen: set[tuple[Depths, int]] = set()
        for path in sorted(longer, key=expected_us):
            key = path.depths, int(path.left.sum())
            if key not in seen and len(beam) < BEAM:
                seen.add(key)
                beam.append(path)
    return [_path(known, path.steps) for path in beam]


def _after(judge: ScheduleEvaluator, path: _Partial, member: int, limit: float) -> _Partial:
    """One more segment, started in order on the first free worker."""
    segment_us = judge.known.segments_us[member][path.depths[member]]
    workers = sorted(path.workers_us)
    done_us = max(workers[0], path.members_us[member]) + segment_us
    now_us = max(path.now_us, done_us) + judge.known.exit_us
    depths = tuple(depth + (number == member) for number, depth in enumerate(path.depths))
    leaves = ~path.left & (judge.state(depths)[1] < limit) if depths != judge.known.full else ~path.left
    return _Partial(
        steps=(*path.steps, member),
        depths=depths,
        workers_us=(done_us, *workers[1:]),
        members_us=tuple(done_us if m == member else us for m, us in enumerate(path.members_us)),
        now_us=now_us,
        left=path.left | leaves,
        spent_us=path.spent_us + float(leaves.sum()) * now_us,
    )
