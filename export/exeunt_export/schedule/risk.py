"""The risk of a vote by its confidence, and the one limit on the risk that keeps the loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exeunt.tuning.isotonic import pooled

LEAST_FOLD_ROWS = 20  # with fewer rows in a half, half of them would say too little about the other half


@dataclass(frozen=True, slots=True)
class RiskCurve:
    """Risk as a falling step function of the confidence.

    Attributes:
        confidence: float64 [steps], the least confidence of each step, ascending.
        risk: float64 [steps], non-increasing.
    """

    confidence: np.ndarray
    risk: np.ndarray

    @classmethod
    def fit(cls, confidence: np.ndarray, wrong: np.ndarray) -> RiskCurve:
        """Isotonic regression (pool adjacent violators), drawn to 1/2 by one row per pool.

        Args:
            confidence: float [rows], at least one.
            wrong: bool [rows], the vote's label is not the full vote's.
        """
        order = np.argsort(-confidence, kind="stable")
        means, starts = pooled(wrong[order].astype(np.float64), np.ones(len(wrong)))
        rows = np.diff(np.append(starts, len(wrong)))
        ends = np.append(starts[1:], len(wrong)) - 1  # the least sure row of each pool
        risk = (means * rows + 0.5) / (rows + 1)
        risk = np.maximum.accumulate(risk)  # small pools are drawn more: keep the curve falling in the confidence
        return cls(confidence[order][ends][::-1].astype(np.float64), risk[::-1])

    def of(self, confidence: np.ndarray) -> np.ndarray:
        """Risk of each confidence, float64 [rows]; below the least confidence seen, the highest risk."""
        place = np.searchsorted(self.confidence, confidence, side="right") - 1
        return np.asarray(self.risk[np.maximum(place, 0)])


def folds(rows: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(rows to fit on, rows to judge) as index arrays: two halves and back; all rows for both where they are few."""
    everything = np.arange(rows)
    if rows < 2 * LEAST_FOLD_ROWS:
        return [(everything, everything)]
    even, odd = everything[::2], everything[1::2]
    return [(even, odd), (odd, even)]


def latency_at_best_limit(
    risk: np.ndarray, wrong: np.ndarray, elapsed_us: np.ndarray, max_loss: float
) -> tuple[float, float]:
    """(mean latency, loss) at the highest common limit on the risk that keeps the loss; bisection over the risks.

    Args:
        risk: float64 [rows, exits], -1 at the last exit.
        wrong: bool [rows, exits], False at the last exit.
        elapsed_us: float64 [exits].
        max_loss: most wrong answers, as a share.
    """
    limits = np.unique(risk)
    low, high = 0, len(limits)  # at limits[0] nobody leaves early: the last exit's risk is -1
    best = (float(elapsed_us[-1]), 0.0)
    rows = np.arange(len(risk))
    while low < high:
        middle = (low + high) // 2
        first = (risk <= limits[middle]).argmax(axis=1) if middle else np.full(len(risk), len(elapsed_us) - 1)
        loss = float(wrong[rows, first].mean())
        if loss <= max_loss:
            best = min(best, (float(elapsed_us[first].mean()), loss))
            low = middle + 1
        else:
            high = middle
    return best
