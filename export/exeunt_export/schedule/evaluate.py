"""What a list of exits is worth on the calibration rows.

A row's risk at an exit is never judged by what was fitted on that row: weights and risk curves are fitted on one half
of the rows and applied to the other. So a schedule is not chosen because it happens to fit the rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from exeunt.deciding import votes
from exeunt.deciding.votes import SCORES
from exeunt.engine.exit_times import Depths, exit_times, slowed, work_until_us
from exeunt.engine.plan import target_choices
from exeunt_export.schedule.exit_weights import fitted_weights
from exeunt_export.schedule.risk import RiskCurve, folds, latency_at_best_limit

MOST_ROWS = 2000  # calibration rows that schedules are judged on


@dataclass(frozen=True, slots=True)
class ScheduleInputs:
    """What a schedule is chosen from.

    Attributes:
        segments_us: per member the time of each segment, one row.
        probabilities: (member, depth) -> float32 [rows, classes] on the calibration rows, for every depth from 1.
        weights: the bag's, any scale.
        vote: "soft" or "hard".
        workers: runs at a time.
        max_loss: promised share of answers that differ from the full vote.
        confidence: score of a vote, a key of SCORES.
        exit_us: what one exit adds to the time of all that come later: heads and the decision.
        most_exits: most exits before the last, those after a finished member apart.
        slowdown: of runs beside each other, see exeunt.engine.exit_times.slowed.
    """

    segments_us: Sequence[Sequence[float]]
    probabilities: Mapping[tuple[int, int], np.ndarray]
    weights: Sequence[float]
    vote: str
    workers: int
    max_loss: float
    confidence: str = "margin"
    exit_us: float = 0.0
    most_exits: int = 6
    slowdown: tuple[float, ...] = ()

    @property
    def full(self) -> Depths:
        """Depths of the last exit."""
        return tuple(len(times_us) for times_us in self.segments_us)

    @property
    def members(self) -> range:
        """Numbers of the members."""
        return range(len(self.segments_us))


@dataclass(frozen=True, slots=True)
class Schedule:
    """Exits in order, the last the full ensemble.

    Attributes:
        exits: depths by member.
        latency_us: expected time of an answer on the calibration rows, on an idle machine.
        loss: share of them that differ from the full vote.
        targets: places of the exits that are worked towards in that time.
        works_ahead: whether idle workers then run what only a later target needs.
    """

    exits: tuple[Depths, ...]
    latency_us: float
    loss: float
    targets: tuple[int, ...]
    works_ahead: bool = True


class ScheduleEvaluator:
    """Says what a list of exits is worth; remembers every state's vote."""

    def __init__(self, inputs: ScheduleInputs) -> None:
        rows = len(next(iter(inputs.probabilities.values())))
        step = -(-rows // MOST_ROWS)
        sampled = {pair: array[::step] for pair, array in inputs.probabilities.items()}
        self.inputs = replace(inputs, probabilities=sampled)
        self._score = SCORES[inputs.confidence]
        self._states: dict[Depths, tuple[np.ndarray, np.ndarray]] = {}
        finished = [sampled[member, inputs.full[member]] for member in inputs.members]
        self.full = votes.labels(votes.vote(finished, list(inputs.weights), inputs.vote))
        self._folds = folds(len(self.full))

    def judge_state(self, depths: Depths) -> tuple[np.ndarray, np.ndarray]:
        """(risk float64 [rows], wrong bool [rows]) of the vote at a state, each row judged by the other half."""
        if depths not in self._states:
            risk, wrong = np.empty(len(self.full)), np.zeros(len(self.full), dtype=bool)
            for fit, judged in self._folds:
                weights = self._fit_weights(depths, fit)
                confidence, wrong_there = self._vote(depths, fit, weights)
                curve = RiskCurve.fit(confidence, wrong_there)
                confidence, wrong[judged] = self._vote(depths, judged, weights)
                risk[judged] = curve.of(confidence)
            self._states[depths] = risk, wrong
        return self._states[depths]

    def weights(self, depths: Depths) -> tuple[float, ...] | None:
        """Weights by member of the vote at a state, fitted on all rows; None at the last exit: the bag's."""
        if depths == self.inputs.full:
            return None
        fitted = iter(self._fit_weights(depths, np.arange(len(self.full))))
        return tuple(next(fitted) if depth else 0.0 for depth in depths)

    def with_all_targets(self, exits: Sequence[Depths]) -> Schedule:
        """What a list of exits is worth if the engine works towards each of them in turn."""
        return self._best_targets(exits, [tuple(range(len(exits)))])

    def work_us(self, exits: Sequence[Depths], certain: bool) -> float:
        """Expected work of an answer, all workers' together.

        Args:
            exits: gone through in turn.
            certain: rows leave only where the full vote's label cannot change any more; else within the promise.
        """
        inputs = self.inputs
        until_us = np.array([work_until_us(inputs.segments_us, depths) for depths in exits])
        spent_us = until_us + inputs.exit_us * np.arange(len(exits))
        if not certain:
            return latency_at_best_limit(*self.risks(exits), spent_us, inputs.max_loss)[0]
        sure = np.stack([self._is_certain(depths) for depths in exits], axis=1)
        return float(spent_us[sure.argmax(axis=1)].mean())

    def with_best_targets(self, exits: Sequence[Depths]) -> Schedule:
        """What a list of exits is worth with the best choice of those to work towards, as the engine finds it."""
        last = len(exits) - 1
        return self._best_targets(exits, [(*choice, last) for choice in target_choices(last)])

    def _best_targets(self, exits: Sequence[Depths], targets: Sequence[tuple[int, ...]]) -> Schedule:
        risk, wrong = self.risks(exits)
        inputs = self.inputs
        crowded = slowed(inputs.slowdown, inputs.workers) > 1.0
        schedules = []
        for ahead in (True, False) if crowded else (True,):
            for choice in targets:
                times = exit_times(inputs.segments_us, exits, inputs.workers, choice, inputs.slowdown, ahead)
                elapsed_us = np.array([time + place * inputs.exit_us for place, time in enumerate(times)])
                latency_us, loss = latency_at_best_limit(risk, wrong, elapsed_us, inputs.max_loss)
                schedules.append(Schedule(tuple(exits), latency_us, loss, choice, ahead))
        return min(schedules, key=lambda schedule: schedule.latency_us)

    def prune(self, path: Sequence[Depths], keep: Collection[Depths] = ()) -> Schedule:
        """Leave the least useful exits of a path out, one by one, until `most_exits` early ones are left.

        Exits that do not pay on the calibration rows are kept up to that number, and those in `keep` always: when
        inputs get harder others pay, and an inactive exit costs next to nothing. The latency is that of the best
        subset, which a tuner finds.
        """
        schedule = self.with_all_targets(path)
        while len(schedule.exits) > 1 + self.inputs.most_exits:
            shorter = self._without_least_useful(schedule, keep)
            if shorter is None:
                break
            schedule = shorter
        best = shortened = schedule
        while (
            shorter := self._without_least_useful(shortened, ())
        ) is not None and shorter.latency_us <= best.latency_us:
            best = shortened = shorter
        return replace(schedule, latency_us=best.latency_us, loss=best.loss)

    def _without_least_useful(self, schedule: Schedule, keep: Collection[Depths]) -> Schedule | None:
        """The schedule without the early exit that it misses least; None where all must stay."""
        exits = schedule.exits
        places = [place for place in range(len(exits) - 1) if exits[place] not in keep]
        shorter = (self.with_all_targets(exits[:place] + exits[place + 1 :]) for place in places)
        return min(shorter, key=lambda schedule_: schedule_.latency_us, default=None)

    def risks(self, exits: Sequence[Depths]) -> tuple[np.ndarray, np.ndarray]:
        """(risk, wrong), both [rows, exits]; -1 and False at the last exit."""
        early = [self.judge_state(depths) for depths in exits[:-1]]
        risk = np.stack([*(risk for risk, _ in early), np.full(len(self.full), -1.0)], axis=1)
        wrong = np.stack([*(wrong for _, wrong in early), np.zeros(len(self.full), dtype=bool)], axis=1)
        return risk, wrong

    def _is_certain(self, depths: Depths) -> np.ndarray:
        """Rows whose label cannot change after a state; bool [rows]."""
        inputs = self.inputs
        finished = [member for member in inputs.members if depths[member] == inputs.full[member]]
        if len(finished) == len(inputs.full) or not finished:
            return np.full(len(self.full), len(finished) > 0)
        weights = [float(inputs.weights[member] / sum(inputs.weights)) for member in finished]
        final_votes = [inputs.probabilities[member, inputs.full[member]] for member in finished]
        return votes.cannot_change(final_votes, weights, 1.0 - sum(weights), inputs.vote)

    def _fit_weights(self, depths: Depths, rows: np.ndarray) -> list[float]:
        """Weights of the voting members, fitted on some rows."""
        inputs = self.inputs
        bag = [float(inputs.weights[member]) for member in inputs.members if depths[member]]
        if depths == inputs.full:
            return bag
        parts = [inputs.probabilities[member, depths[member]][rows] for member in inputs.members if depths[member]]
        ballots = parts if inputs.vote == "soft" else [votes.one_hot(part) for part in parts]
        return list(fitted_weights(ballots, bag, self.full[rows]))

    def _vote(self, depths: Depths, rows: np.ndarray, weights: list[float]) -> tuple[np.ndarray, np.ndarray]:
        """(confidence, wrong) of the vote at a state on some rows."""
        inputs = self.inputs
        parts = [inputs.probabilities[member, depths[member]][rows] for member in inputs.members if depths[member]]
        vote = votes.vote(parts, weights, inputs.vote)
        return self._score(vote), votes.labels(vote) != self.full[rows]
