"""A small world around a tuner: rows come, leave, finish late, in another order or never, and every loss is counted.

It plays the controller's part by the interface of exeunt/tuning/tuner.py alone, and keeps its own books.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from exeunt.contract import Reason
from exeunt.manifest import Costs
from exeunt.records.feedback import Feedback
from exeunt.settings import Settings
from exeunt.tuning.error_budget.budget_tuner import BudgetTuner
from exeunt.tuning.tuner import Answered, Setup, View

FULL_LATENCY_US = 1000.0


def costs(exits: int, head_us: float = 0.0) -> Costs:
    """Exits at equal distances, with heads of one price."""
    heads = np.full(exits, head_us)
    heads[-1] = 0.0
    return Costs(np.linspace(FULL_LATENCY_US / exits, FULL_LATENCY_US, exits), heads)


def stream(rng: np.random.Generator, rows: int, exits: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Labels and confidences in which confidence tells the risk: a vote is wrong about (1 - confidence) / 2 often."""
    hardness = rng.beta(1.0, 3.0, rows)[:, None]
    confidence = np.clip(1.0 - hardness * rng.uniform(0.4, 1.0, (rows, exits)), 0.0, 1.0).astype(np.float32)
    labels = np.repeat(rng.integers(0, classes, (rows, 1)), exits, axis=1)
    wrong = rng.random((rows, exits)) < (1.0 - confidence) / 2
    labels = np.where(wrong, (labels + 1) % classes, labels)
    labels[:, -1] = np.where(wrong[:, -1], (labels[:, -1] - 1) % classes, labels[:, -1])
    return labels.astype(np.int32), confidence


def tuner(
    exits: int = 4, calibration_rows: int = 64, most_unconfirmed: int = 16, eps: float = 0.05, **options: object
) -> BudgetTuner:
    """A small `budget` tuner; `options` are its options and `service_classes`."""
    classes = options.pop("service_classes", {})
    head_us = options.pop("head_us", 0.0)
    options = {
        "g": 0.5,
        "window_rows": 128,
        "half_life_rows": 64.0,
        "retune_rows": 64,
        "calibrate_rows": 128,
        "period_rows": 0,
    } | options
    settings = Settings(
        tuner="budget",
        tuner_options=options,
        max_loss=eps,
        service_classes=classes,  # type: ignore[arg-type]
        max_unconfirmed_rows=most_unconfirmed,
    )
    labels, confidence = stream(np.random.default_rng(9), calibration_rows, exits)
    calibration = Feedback.observed(labels, confidence)
    return BudgetTuner(Setup(costs(exits, head_us), settings, calibration))  # type: ignore[arg-type]


class World:
    """Rows in flight around one tuner, and the true account of what it lost.

    Attributes:
        lost: by class of service, one bool per promised answer in the order of the decisions: did it differ?
        exits: exit of every answer, in the same order over all classes.
    """

    def __init__(self, tuner: BudgetTuner, rng: np.random.Generator, q: float = 1.0) -> None:
        self.tuner = tuner
        self.rng = rng
        self.q = q
        self.lost: dict[int, list[bool]] = {}
        self.exits: list[int] = []
        self.flying: list[Feedback] = []

    def admit(
        self,
        labels: np.ndarray,
        confidence: np.ndarray,
        service_class: np.ndarray | None = None,
        observed: np.ndarray | None = None,
    ) -> np.ndarray:
        """Decide rows at every active exit before the last; they fly until `finish` or `drop`. Exits, int [rows]."""
        rows, exits = labels.shape
        observed = self.tuner.active() if observed is None else observed
        observed[-1] = True
        classes = np.zeros(rows, dtype=np.int16) if service_class is None else service_class.astype(np.int16)
        visible_labels = np.full((rows, exits), -1, dtype=np.int32)
        scores = np.full((rows, exits), np.nan, dtype=np.float32)
        row_exits = np.full(rows, exits - 1, dtype=np.int32)
        finishes = np.ones(rows, dtype=bool)
        for exit_ in np.flatnonzero(observed[:-1]):
            visible_labels[:, exit_], scores[:, exit_] = labels[:, exit_], confidence[:, exit_]
            open_ = np.flatnonzero(row_exits == exits - 1)
            if not (self.tuner.active()[exit_] and len(open_)):
                continue
            leaves = self.tuner.leaves(int(exit_), View(visible_labels[open_], scores[open_], classes[open_], self.q))
            assert not leaves[np.isnan(scores[open_, exit_])].any()
            leaving = open_[leaves]
            row_exits[leaving] = exit_
            finishes[leaving] = self.rng.random(len(leaving)) < self.q
            self._answered(
                row_exits[leaving], classes[leaving], finishes[leaving], labels[leaving, exit_] != labels[leaving, -1]
            )
        visible_labels[:, -1], scores[:, -1] = labels[:, -1], confidence[:, -1]
        feedback = Feedback.observed(visible_labels, scores)
        feedback.exit[:] = row_exits
        feedback.answer[:] = labels[np.arange(rows), row_exits]
        feedback.reason[:] = np.where(row_exits < exits - 1, Reason.EARLY, Reason.FULL)
        feedback.q[:] = np.where(row_exits < exits - 1, self.q, 1.0)
        feedback.service_class[:] = classes
        self.flying.append(feedback.rows(finishes))
        return row_exits

    def finish(self, number: int = 0) -> None:
        """The full vote of a flying batch arrives."""
        batch = self.flying.pop(number)
        full = batch.rows(batch.reason == Reason.FULL)
        self._answered(full.exit, full.service_class, np.ones(len(full), dtype=bool), np.zeros(len(full), dtype=bool))
        if len(batch):
            self.tuner.learn(batch)
        job = self.tuner.retune()
        if job is not None:
            self.tuner.adopt(job())

    def change_ramps(self, changed: np.ndarray, seen_rows: int) -> None:
        """Some exits (bool [exits]) say something else from now on, and what they are said to have said is a lie."""
        labels, confidence = stream(self.rng, seen_rows, len(changed))
        labels[:] = labels[:, -1:]
        confidence[:] = 1.0
        self.tuner.ramps_changed(self.tuner.heads_version + 1, changed, Feedback.observed(labels, confidence))
        self.flying = [
            replace(
                flying,
                labels=np.where(changed, np.int32(-1), flying.labels),
                confidence=np.where(changed, np.float32(np.nan), flying.confidence),
            )
            for flying in self.flying
        ]

    def drop(self, number: int = 0) -> None:
        """The full vote of a flying batch will never come."""
        batch = self.flying.pop(number)
        early = batch.rows(batch.reason == Reason.EARLY)
        if len(early):
            self.tuner.abandoned(_answers(early.exit, early.service_class, np.ones(len(early), dtype=bool), early.q))

    def losses(self, service_class: int = 0) -> np.ndarray:
        """Losses so far, after every promised answer of a class; int [answers]."""
        return np.cumsum(np.array(self.lost.get(service_class, []), dtype=np.int64))

    def most_losses_beyond(self, eps: float, service_class: int = 0) -> float:
        """Highest losses - eps x answers, over every number of answers since the start."""
        losses = self.losses(service_class)
        return float(np.max(losses - eps * np.arange(1, len(losses) + 1), initial=0.0))

    def worst_window_beyond(self, eps: float, service_class: int = 0) -> float:
        """Highest losses - eps x answers over every window of answers."""
        excess = np.concatenate([[0.0], np.cumsum(np.array(self.lost.get(service_class, []), dtype=np.float64) - eps)])
        return float(np.max(excess - np.minimum.accumulate(excess)))

    def _answered(self, exits: np.ndarray, classes: np.ndarray, finishes: np.ndarray, lost: np.ndarray) -> None:
        if not len(exits):
            return
        last = self.tuner.setup.exits - 1
        q = np.where(exits < last, self.q, 1.0).astype(np.float32)
        self.tuner.answered(_answers(exits, classes, finishes, q, last))
        self.exits += exits.tolist()
        for class_, bad in zip(classes.tolist(), lost.tolist(), strict=True):
            self.lost.setdefault(class_, []).append(bool(bad))


def _answers(
    exits: np.ndarray, classes: np.ndarray, finishes: np.ndarray, q: np.ndarray, last: int | None = None
) -> Answered:
    full = np.zeros(len(exits), dtype=bool) if last is None else exits == last
    return Answered(
        reason=np.where(full, Reason.FULL, Reason.EARLY).astype(np.int8),
        exit=exits,
        service_class=classes,
        q=q,
        finishes=finishes,
        counted=np.ones(len(exits), dtype=bool),
    )
