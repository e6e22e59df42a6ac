"""The `static` tuner: thresholds from the calibration set, never moved."""

from __future__ import annotations

import numpy as np

from exeunt.errors import ConfigError
from exeunt.records.feedback import Feedback
from exeunt.tuning.apparate.threshold_search import SearchRules, search_thresholds
from exeunt.tuning.evidence import Evidence
from exeunt.tuning.tuner import Setup, State, Tuner, View, error_score, options

FINE = SearchRules(start_step=0.1, floor_step=0.001)


class Static(Tuner):
    """One-time tuning, as BranchyNet, DeeBERT and MSDNet are used: per-exit thresholds fixed before serving.

    The rule: thresholds are raised from 0 by the greedy search of `hill_climb` (most latency saved per accuracy lost
    first) with steps down to 0.001, over all exits and all calibration rows, until none can be raised further without
    the rows that leave anywhere passing `max_loss` together; with classes of service the strictest class's loss holds
    for all. Then every threshold comes down to just above the highest error score that leaves there: no calibration
    row decides otherwise, and scores that calibration never saw stay in. Without calibration rows nobody leaves.

    Options:
        thresholds: thresholds of one's own instead, from 0 (nobody) to 1 (everybody): one number for every exit, or
            one per exit before the last.
    """

    name = "static"

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        thresholds: list[float] = options(setup, thresholds=[])["thresholds"]
        self._fixed = _checked(thresholds, setup.exits) if thresholds else None
        self._thresholds = calibrated(setup, min(self.class_losses)) if self._fixed is None else self._fixed

    def set_class_losses(self, class_losses: tuple[float, ...]) -> None:
        """Other promised losses from now on: thresholds from the calibration set anew."""
        super().set_class_losses(class_losses)
        if self._fixed is None:
            self._thresholds = calibrated(self.setup, min(class_losses))

    def leaves(self, exit_: int, view: View) -> np.ndarray:
        """Rows whose error score is strictly below the exit's threshold; bool [rows]."""
        return np.asarray(error_score(view.confidence[:, exit_]) < self._thresholds[exit_])

    def thresholds(self) -> np.ndarray:
        """The fixed thresholds; float64 [exits], NaN at the last."""
        return self._thresholds.copy()

    def learn(self, feedback: Feedback) -> None:
        """Nothing is learnt."""

    def state(self) -> State:
        """The thresholds: kept for the record, since they follow from calibration and settings."""
        return {"thresholds": self._thresholds.copy()}

    def restore(self, state: State, clean: bool) -> None:
        """Nothing to take over: other settings must have other thresholds, whatever was saved."""


def calibrated(setup: Setup, max_loss: float) -> np.ndarray:
    """Thresholds by the rule of `Static` for a promised loss of 0..1; float64 [exits], NaN at the last."""
    evidence = Evidence.of(setup.calibration)
    ramps = [ramp for ramp in range(setup.exits - 1) if evidence.seen(np.array([ramp])).any()]
    latency_us = setup.costs.latency_us(np.ones(setup.exits, dtype=bool))
    thresholds = np.zeros(setup.exits)
    thresholds[ramps] = search_thresholds(evidence, ramps, latency_us, max_loss, FINE).thresholds
    first = evidence.first_exit(thresholds, np.ones(setup.exits, dtype=bool))
    for ramp in range(setup.exits - 1):
        leaving = evidence.errors[first == ramp, ramp]
        thresholds[ramp] = np.nextafter(leaving.max(), np.inf) if len(leaving) else 0.0
    thresholds[-1] = np.nan
    return thresholds


def _checked(thresholds: list[float], exits: int) -> np.ndarray:
    where = f"exit.tuner_options: thresholds = {thresholds!r}"
    numbers = all(isinstance(value, int | float) and 0 <= value <= 1 for value in thresholds)
    if not numbers or len(thresholds) not in (1, exits - 1):
        raise ConfigError(f"{where}; allowed: one number from 0 to 1, or {exits - 1} of them, one per early exit")
    return np.append(np.broadcast_to(np.asarray(thresholds, dtype=np.float64), exits - 1), np.nan)
