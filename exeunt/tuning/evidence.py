"""Evidence: feedback as the searches for thresholds want it, and what given thresholds would have done on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exeunt.contract import Reason
from exeunt.records.feedback import NEVER_SEEN, Feedback
from exeunt.tuning.tuner import error_score

LOSSLESS_ERROR = -1.0  # below every threshold: a row that left losslessly leaves there whatever the thresholds say


@dataclass(frozen=True, slots=True)
class Evidence:
    """Rows for which it is known how each vote would have fared.

    Attributes:
        errors: float64 [rows, exits], error score 1 - confidence; infinity where the vote did not arrive,
            LOSSLESS_ERROR where the row left losslessly.
        wrong: bool [rows, exits], True where that vote's label is not the full vote's.
        weight: float64 [rows], 1 / q: how many answered rows this one stands for.
    """

    errors: np.ndarray
    wrong: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.weight)

    @classmethod
    def of(cls, feedback: Feedback) -> Evidence:
        """Evidence of the rows that the promise counts; the others were not the tuner's to decide."""
        promised = feedback.rows(feedback.promised)
        has_vote = (promised.labels != NEVER_SEEN) & ~np.isnan(promised.confidence)
        errors = np.where(has_vote, error_score(promised.confidence), np.inf)
        lossless = np.flatnonzero(promised.reason == Reason.LOSSLESS)
        errors[lossless, promised.exit[lossless]] = LOSSLESS_ERROR
        return cls(errors, has_vote & (promised.labels != promised.full[:, None]), 1.0 / promised.q.astype(np.float64))

    def rows(self, selection: np.ndarray | slice) -> Evidence:
        """The selected rows (mask, indices or slice) as evidence of their own."""
        return Evidence(self.errors[selection], self.wrong[selection], self.weight[selection])

    def seen(self, exits: np.ndarray) -> np.ndarray:
        """Rows on which every one of `exits` (indices or mask) was seen; bool [rows]."""
        return np.asarray((self.errors[:, exits] < np.inf).all(axis=1))

    def first_exit(self, thresholds: np.ndarray, active: np.ndarray) -> np.ndarray:
        """Exit at which each row would have been answered.

        Args:
            thresholds: float64 [exits]; a row leaves at the first active exit whose error score is below, strictly.
            active: bool [exits]; the last exit answers whoever is left.

        Returns:
            int64 [rows].
        """
        leaves = (self.errors < np.where(np.isnan(thresholds), 0.0, thresholds)) & active
        leaves[:, -1] = True
        return leaves.argmax(axis=1)

    def loss(self, first: np.ndarray) -> float:
        """Weighted share of wrong answers if each row were answered at exit `first`; 0 without rows."""
        if not len(self):
            return 0.0
        return float(np.average(self.wrong[np.arange(len(self)), first], weights=self.weight))

    def latency_us(self, first: np.ndarray, latency_us: np.ndarray) -> float:
        """Weighted mean latency if each row were answered at exit `first`, from the latency [exits] of each exit."""
        return float(np.average(latency_us[first], weights=self.weight))
