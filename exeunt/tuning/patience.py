"""The `patience` tuner: leave once enough exits in a row have said the same."""

from __future__ import annotations

import numpy as np

from exeunt.errors import ConfigError
from exeunt.records.feedback import NEVER_SEEN, Feedback
from exeunt.tuning.tuner import Setup, State, Tuner, View, options


class Patience(Tuner):
    """PABEE (Zhou et al., NeurIPS'20): leave after `patience` exits in a row with the same label.

    "In a row" is by depth over the exits that have arrived: one that is missing (inactive, or overtaken by a deeper
    one) neither adds to the row nor breaks it. Nothing is learnt, so a cold start needs no calibration, and no loss is
    promised: `max_loss` has no influence here.

    Options:
        patience: length of the row, from 1; 1 lets every answer leave at the first exit.
    """

    name = "patience"

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._patience: int = options(setup, patience=2)["patience"]
        if self._patience < 1:
            raise ConfigError(f"exit.tuner_options: patience = {self._patience}; allowed: a whole number from 1")

    def leaves(self, exit_: int, view: View) -> np.ndarray:
        """Rows whose newest `patience` votes up to this exit agree; bool [rows]."""
        label = view.labels[:, exit_]
        unbroken = (label != NEVER_SEEN) & ~np.isnan(view.confidence[:, exit_])
        run = unbroken.astype(np.int32)
        for earlier in range(exit_ - 1, -1, -1):
            voted = view.labels[:, earlier] != NEVER_SEEN
            unbroken = unbroken & (~voted | (view.labels[:, earlier] == label))
            run += unbroken & voted
        return run >= self._patience

    def thresholds(self) -> np.ndarray:
        """NaN everywhere: no score is compared with anything; float64 [exits]."""
        return np.full(self.setup.exits, np.nan)

    def learn(self, feedback: Feedback) -> None:
        """Nothing to learn."""

    def state(self) -> State:
        """Nothing to keep."""
        return {}

    def restore(self, state: State, clean: bool) -> None:
        """Nothing to take over."""
