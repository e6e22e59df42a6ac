"""The tuner's work in a replay: its jobs, run at once and adopted later as in the server, and its time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from exeunt.deciding.decisions import Decisions
from exeunt.tuning.tuner import Tuner

_T = TypeVar("_T")


class Jobs:
    """Takes, runs and adopts a tuner's jobs at the right moments.

    Args:
        decisions: the core whose tuner it is.
        lag_rows: rows learnt between the start of a job and its adoption.
        recorded: the record says when; `lag_rows` is ignored.
    """

    def __init__(self, decisions: Decisions, lag_rows: int, recorded: bool) -> None:
        self.recorded = recorded
        self.tuning_s = 0.0
        self.count = 0
        self._decisions = decisions
        self._lag_rows = lag_rows
        self._out = False
        self._outcome: Any = None
        self._due_rows = 0

    def take_recorded(self) -> None:
        """The record says that a job was taken now."""
        if self.recorded and not self._out:
            self._take()

    def adopt_recorded(self) -> None:
        """The record says that a job was adopted now."""
        if self.recorded and self._out:
            self._adopt()

    def after(self, learnt_rows: int) -> None:
        """Rows were learnt: adopt what is due, take what is due."""
        if self.recorded:
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
        job = self._decisions.changes.retune()
        if job is not None:
            self._outcome = job()
            self._out = True
            self.count += 1
        self.tuning_s += time.perf_counter() - start

    def _adopt(self) -> None:
        start = time.perf_counter()
        self._decisions.changes.adopt(self._outcome)
        self._out, self._outcome = False, None
        self.tuning_s += time.perf_counter() - start


class Stopwatch:
    """Times what a tuner does on the serving path, from now on.

    Args:
        tuner: its methods are wrapped in place, so that it stays whole: whatever else a tuner can do is its own.
    """

    def __init__(self, tuner: Tuner) -> None:
        self.serving_s = 0.0
        for name in ("active", "leaves", "risk", "answered", "tossed", "abandoned", "learn"):
            setattr(tuner, name, self._timed(getattr(tuner, name)))

    def _timed(self, method: Callable[..., _T]) -> Callable[..., _T]:
        def timed(*args: Any) -> _T:
            start = time.perf_counter()
            result = method(*args)
            self.serving_s += time.perf_counter() - start
            return result

        return timed
