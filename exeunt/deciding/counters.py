"""Counters: what the controller has counted since it started; cumulative, cheap, read by metrics and status."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from exeunt.contract import EARLY, Reason
from exeunt.records.feedback import Feedback
from exeunt.tuning.tuner import Answered

# upper bounds of the release latency histogram: 1-2-5 steps from 0.5 ms to 10 s
LATENCY_BOUNDS_US = ([m * 10**e for e in range(2, 7) for m in (1, 2, 5)] + [10_000_000])[2:]


class Counters:
    """Counters since start.

    Attributes:
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
        seen_losses: the same, each counted 1.
        expected_losses: summed risk of the early rows at their release.
        tickets: tickets admitted; `shadow_tickets` those of them that asked for every tap.
    """

    def __init__(self, exits: int) -> None:
        self.answers = np.zeros((exits, len(Reason)), dtype=np.int64)
        self.promised_rows = 0
        self.requests = np.zeros((exits, len(LATENCY_BOUNDS_US) + 1), dtype=np.int64)
        self.latency_us = np.zeros(exits, dtype=np.int64)
        self.refused = 0
        self.errors = 0
        self.finished_rows = 0
        self.early_rows = 0
        self.losses = 0.0
        self.seen_losses = 0
        self.expected_losses = 0.0
        self.abandoned_rows = 0
        self.tickets = 0
        self.shadow_tickets = 0

    def answered(self, exit_: int, reason: Reason, answered: Answered, risk: float) -> None:
        """Count rows decided at an exit for a reason; `risk` is their summed estimated risk."""
        self.answers[exit_, reason] += len(answered.reason)
        self.promised_rows += int(np.count_nonzero(answered.counted))
        if reason == EARLY:
            self.expected_losses += risk

    def finished(self, feedback: Feedback) -> None:
        """Count finished rows and their losses."""
        self.finished_rows += len(feedback)
        early = feedback.reason == EARLY
        early_rows = int(np.count_nonzero(early))
        if early_rows:
            self.early_rows += early_rows
            lost = feedback.loss & early
            seen = int(np.count_nonzero(lost))
            if seen:
                self.seen_losses += seen
                self.losses += float((lost / feedback.q).sum())

    def released(self, latency_us: int, exit_: int) -> None:
        """Count one client request, whose last row was decided at an exit."""
        self.requests[exit_, bisect_left(LATENCY_BOUNDS_US, latency_us)] += 1
        self.latency_us[exit_] += latency_us
