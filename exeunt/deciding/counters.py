"""Counters: what the controller has counted since it started; cumulative, cheap, read by metrics and status."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from exeunt.contract import EARLY, Reason
from exeunt.records.feedback import Feedback, summed_weight
from exeunt.tuning.tuner import Answered

# upper bounds of the release latency histogram: 1-2-5 steps from 0.5 ms to 10 s
LATENCY_BOUNDS_US = ([m * 10**e for e in range(2, 7) for m in (1, 2, 5)] + [10_000_000])[2:]


@dataclass(slots=True)
class ClassCounters:
    """What one class of service may lose and has lost since start, counted apart from any tuner's own books.

    Attributes:
        rows: rows answered that the promise counts.
        promised_losses: the promised share at the time of each answer, summed over them (eps T).
        received: losses that may happen on top: saved up before the start, or handed over by other replicas.
        losses: losses found, each counted 1/q, early rows whose full vote never came among them.
        unconfirmed: early rows that await their full vote, each counted 1/q (1 before it is tossed).
        most_unconfirmed: highest `unconfirmed` at an early decision (P).
        lowest_q: lowest probability with which an early row was chosen to finish.
    """

    rows: int = 0
    promised_losses: float = 0.0
    received: float = 0.0
    losses: float = 0.0
    unconfirmed: float = 0.0
    most_unconfirmed: float = 0.0
    lowest_q: float = 1.0

    def waits(self, weight: float, q: np.ndarray) -> None:
        """Early rows that finish with probabilities `q` (float32 [rows]) add `weight` to what is awaited."""
        self.unconfirmed += weight
        if len(q):
            self.lowest_q = min(self.lowest_q, float(q.min()))


class Counters:
    """Counters since start.

    Attributes:
        by_class: for each class of service.
        answers: int64 [exits, reasons], rows answered.
        promised_rows: rows answered that the promise counts: no `never`, no NaN, no deadline, no fault.
        requests: int64 [exits, bounds + 1], client requests released by their last row's exit and by latency; the last
            column is beyond every bound.
        latency_us: int64 [exits], summed release latency of client requests.
        refused: requests refused because the server was full or stopping.
        errors: requests that got an error after they were accepted.
        finished_rows: rows whose full vote became feedback.
        early_rows: those of them that had left early.
        losses: early rows that differed from the full vote, each counted 1/q.
        expected_losses: summed risk of the early rows at their release.
        tickets: tickets admitted; `shadow_tickets` those of them that asked for every tap, `plain_tickets`
            those that asked for the full vote only, `lean_tickets` those of the gear with the least work.
    """

    def __init__(self, exits: int, classes: int = 1) -> None:
        self.by_class = [ClassCounters() for _ in range(classes)]
        self.answers = np.zeros((exits, len(Reason)), dtype=np.int64)
        self.promised_rows = 0
        self.requests = np.zeros((exits, len(LATENCY_BOUNDS_US) + 1), dtype=np.int64)
        self.latency_us = np.zeros(exits, dtype=np.int64)
        self.refused = 0
        self.errors = 0
        self.finished_rows = 0
        self.early_rows = 0
        self.losses = 0.0
        self.expected_losses = 0.0
        self.abandoned_rows = 0
        self.tickets = 0
        self.shadow_tickets = 0
        self.plain_tickets = 0
        self.lean_tickets = 0

    def answered(
        self, exit_: int, reason: Reason, answered: Answered, risk: float, class_losses: tuple[float, ...]
    ) -> None:
        """Count rows decided at an exit for a reason.

        Args:
            exit_: the exit.
            reason: the reason of all of them.
            answered: the rows.
            risk: their summed estimated risk.
            class_losses: promised share of losses by class of service, now.
        """
        self.answers[exit_, reason] += len(answered.reason)
        for number, mine in self._classes_of(answered.service_class):
            rows = int(np.count_nonzero(answered.counted[mine]))
            self.promised_rows += rows
            self.by_class[number].rows += rows
            self.by_class[number].promised_losses += rows * class_losses[number]
            if reason == EARLY:
                q = answered.q[mine][answered.finishes[mine]]
                counters = self.by_class[number]
                counters.waits(summed_weight(q), q)
                counters.most_unconfirmed = max(counters.most_unconfirmed, counters.unconfirmed)
        if reason == EARLY:
            self.expected_losses += risk

    def tossed(self, answered: Answered) -> None:
        """Rows that were answered before, each counted 1 until now, have been tossed."""
        early = answered.reason == EARLY
        for number, mine in self._classes_of(answered.service_class):
            q = answered.q[mine][early[mine] & answered.finishes[mine]]
            self.by_class[number].waits(summed_weight(q) - int(np.count_nonzero(early[mine])), q)

    def abandoned(self, answered: Answered) -> None:
        """Early rows that were to finish never will: each is lost."""
        self.abandoned_rows += len(answered.reason)
        for number, mine in self._classes_of(answered.service_class):
            weight = summed_weight(answered.q[mine])
            self.by_class[number].unconfirmed -= weight
            self.by_class[number].losses += weight

    def finished(self, feedback: Feedback) -> None:
        """Count finished rows and their losses."""
        self.finished_rows += len(feedback)
        early = feedback.reason == EARLY
        early_rows = int(np.count_nonzero(early))
        if not early_rows:
            return
        self.early_rows += early_rows
        lost = feedback.loss & early
        for number, mine in self._classes_of(feedback.service_class):
            self.by_class[number].unconfirmed -= summed_weight(feedback.q[mine][early[mine]])
            if lost[mine].any():
                weight = summed_weight(feedback.q[mine][lost[mine]])
                self.by_class[number].losses += weight
                self.losses += weight

    def _classes_of(self, service_class: np.ndarray) -> list[tuple[int, np.ndarray | slice]]:
        """Each class of service with its rows; bool [rows], or all."""
        if len(self.by_class) == 1:
            return [(0, slice(None))]
        return [(number, service_class == number) for number in np.unique(service_class).tolist()]

    def released(self, latency_us: int, exit_: int) -> None:
        """Count one client request, whose last row was decided at an exit."""
        self.requests[exit_, bisect_left(LATENCY_BOUNDS_US, latency_us)] += 1
        self.latency_us[exit_] += latency_us
