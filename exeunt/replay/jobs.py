"""A tuner's work in a replay: its jobs, run at once and adopted later as in the server, and the time that it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from exeunt.deciding.decisions import Decisions
from exeunt.records.feedback import Feedback
from exeunt.tuning.tuner import Answered, State, Tuner, View

_T = TypeVar("_T")


class Jobs:
    """Takes, runs and adopts a tuner's jobs at the right moments.

    Args:
        decisions: the core whose tuner it is.
        lag_rows: rows learnt between the start of a job and its adoption.
        recorded: the record says when; `lag_rows` is ignored.

    Attributes:
        tuning_s: time spent in jobs.
        count: number of jobs.
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
        job = self._decisions.retune()
        if job is not None:
            self._outcome = job()
            self._out = True
            self.count += 1
        self.tuning_s += time.perf_counter() - start

    def _adopt(self) -> None:
        start = time.perf_counter()
        self._decisions.adopt(self._outcome)
        self._out, self._outcome = False, None
        self.tuning_s += time.perf_counter() - start


class TimedTuner(Tuner):
    """A tuner whose calls on the serving path are timed.

    Args:
        tuner: does the work.

    Attributes:
        serving_s: time spent so far.
    """

    name = "timed"

    def __init__(self, tuner: Tuner) -> None:
        self._tuner = tuner
        self.setup = tuner.setup
        self.class_losses = tuner.class_losses
        self.version = tuner.version
        self.serving_s = 0.0

    def _timed(self, call: Callable[..., _T], *arguments: Any) -> _T:
        start = time.perf_counter()
        result = call(*arguments)
        self.serving_s += time.perf_counter() - start
        self.version = self._tuner.version
        return result

    def active(self) -> np.ndarray:
        """See Tuner."""
        return self._timed(self._tuner.active)

    def leaves(self, exit_: int, view: View) -> np.ndarray:
        """See Tuner."""
        return self._timed(self._tuner.leaves, exit_, view)

    def risk(self, exit_: int, confidence: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """See Tuner."""
        return self._timed(self._tuner.risk, exit_, confidence, labels)

    def answered(self, answered: Answered) -> None:
        """See Tuner."""
        self._timed(self._tuner.answered, answered)

    def abandoned(self, answered: Answered) -> None:
        """See Tuner."""
        self._timed(self._tuner.abandoned, answered)

    def learn(self, feedback: Feedback) -> None:
        """See Tuner."""
        self._timed(self._tuner.learn, feedback)

    def ramps_changed(self, version: int, changed: np.ndarray, seen: Feedback) -> None:
        """See Tuner."""
        self._tuner.ramps_changed(version, changed, seen)
        self.version = self._tuner.version

    def thresholds(self) -> np.ndarray:
        """See Tuner."""
        return self._tuner.thresholds()

    def promise(self, class_losses: tuple[float, ...]) -> None:
        """See Tuner."""
        self._tuner.promise(class_losses)
        self.class_losses, self.version = self._tuner.class_losses, self._tuner.version

    def retune(self) -> Callable[[], Any] | None:
        """See Tuner."""
        return self._tuner.retune()

    def adopt(self, outcome: Any) -> None:
        """See Tuner."""
        self._tuner.adopt(outcome)
        self.version = self._tuner.version

    def state(self) -> State:
        """See Tuner."""
        return self._tuner.state()

    def restore(self, state: State, clean: bool) -> None:
        """See Tuner."""
        self._tuner.restore(state, clean)

    def metrics(self) -> dict[str, float]:
        """See Tuner."""
        return self._tuner.metrics()
