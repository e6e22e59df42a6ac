"""The tuner's jobs in a replay: run at once, adopted later, as in the server that runs them beside serving."""

from __future__ import annotations

import time
from typing import Any

from exeunt.replay.stream import VoteStream
from exeunt.tuning.tuner import Tuner


class Jobs:
    """Takes, runs and adopts a tuner's jobs at the right moments.

    Args:
        stream: says when, if it was recorded under the same tuner.
        tuner: whose jobs.
        lag_rows: else, rows learnt between the start of a job and its adoption.

    Attributes:
        tuning_s: time spent in jobs.
        count: number of jobs.
    """

    def __init__(self, stream: VoteStream, tuner: Tuner, lag_rows: int) -> None:
        self._tuner = tuner
        self._lag_rows = lag_rows
        self._told = None if stream.retunes is None else [tuple(pair) for pair in stream.retunes.tolist()]
        self._out = False
        self._outcome: Any = None
        self._due_rows = 0
        self.tuning_s = 0.0
        self.count = 0

    def before(self, moment: int) -> None:
        """The exit with this number is about to be complete: do what the record says happened before it."""
        if self._told is None:
            return
        while self._told:
            taken, adopted = self._told[0]
            if not self._out and taken <= moment:
                self._take()
            if not self._out or adopted > moment:
                return
            self._adopt()
            self._told.pop(0)

    def after(self, learnt_rows: int) -> None:
        """Rows were learnt: adopt what is due, take what is due."""
        if self._told is not None:
            return
        if self._out:
            self._due_rows -= learnt_rows
            if self._due_rows <= 0:
                self._adopt()
        if not self._out:
            self._take()
            self._due_rows = self._lag_rows
            if self._out and self._lag_rows == 0:
                self._adopt()

    def _take(self) -> None:
        start = time.perf_counter()
        job = self._tuner.retune()
        if job is not None:
            self._outcome = job()
            self._out = True
            self.count += 1
        self.tuning_s += time.perf_counter() - start

    def _adopt(self) -> None:
        start = time.perf_counter()
        self._tuner.adopt(self._outcome)
        self._out, self._outcome = False, None
        self.tuning_s += time.perf_counter() - start
