"""Risk of a vote, the path of cuts, and the limit of the loss rate; BudgetTuner.leaves compares them.

Learnt beside serving (calibrator.py, exit_path.py, spending.py), read for every row that may leave.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

LEAST = 1e-6  # probabilities are kept this far from 0 and 1
PRICES = np.append(np.geomspace(1500.0, 0.5, 20), 0.0)  # in latencies of the full ensemble
ALWAYS_LATE = 0.25  # losses that do not change the plan: a few rows always await their full vote
RISK_MEMORY = 1 / 64  # weight of the newest row that leaves in the mean risk of those that do
LEAST_WINDOW_ROWS = 1000.0  # of the window W of the loss-rate limit
EXPECTED = 10.0  # losses expected in a window at the promised share, in the limit's unit: one loss, or more
MOST_UNITS = 13.0  # losses in a window, in the same unit: 1.3 eps W
LIMITED_SHARES = (0.02, 0.1, 0.3)  # of eps, to spend while fewer than 1, 2, 3 of MOST_UNITS are left


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the calibrator has learnt; exits before the last.

    Attributes:
        line: float64 [exits - 1, 2], intercept and slope (>= 0) on -log-odds of the confidence.
        offsets: float64 [exits - 1, classes], by label; unseen labels have 0.
        scores: float64 [exits - 1, bins], ascending scores of the isotonic step.
        risks: float64 [exits - 1, bins], ascending risk at those scores.
    """

    line: np.ndarray
    offsets: np.ndarray
    scores: np.ndarray
    risks: np.ndarray

    def score(self, exit_: int, confidence: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """Log-odds of a loss by the regression; float64 [rows]; NaN where the confidence is."""
        score = self.line[exit_, 0] + self.line[exit_, 1] * doubt(confidence)
        if labels is not None:
            has_offset = (labels >= 0) & (labels < self.offsets.shape[1])
            score += np.where(has_offset, self.offsets[exit_][np.where(has_offset, labels, 0)], 0.0)
        return score

    def risk(self, exit_: int, confidence: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Estimated probability of a loss.

        Args:
            exit_: an exit before the last.
            confidence: float [rows].
            labels: int [rows], the vote's labels; None = a label of average risk.

        Returns:
            float64 [rows]; NaN where the confidence is.
        """
        return np.interp(self.score(exit_, confidence, labels), self.scores[exit_], self.risks[exit_])

    def risk_of_one(self, exit_: int, confidence: float, label: int) -> float:
        """As `risk` of a single vote, up to rounding: without arrays it takes a tenth of the time."""
        if math.isnan(confidence):
            return math.nan
        clipped = min(max(confidence, LEAST), 1.0 - LEAST)
        intercept, slope = self.line[exit_].tolist()
        score = intercept + slope * (math.log1p(-clipped) - math.log(clipped))
        if 0 <= label < self.offsets.shape[1]:
            score += float(self.offsets[exit_, label])
        scores, risks = self.scores[exit_], self.risks[exit_]
        above = int(scores.searchsorted(score, side="right"))
        if above in (0, len(scores)):
            return float(risks[min(above, len(scores) - 1)])
        (low, high), (least, most) = scores[above - 1 : above + 1].tolist(), risks[above - 1 : above + 1].tolist()
        return float(least + (score - low) * (most - least) / (high - low))

    def risks_of(self, labels: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """Risk at every exit before the last; float64 [rows, exits - 1] from [rows, exits]."""
        early = range(len(self.line))
        risks = [self.risk(exit_, confidence[:, exit_], labels[:, exit_]) for exit_ in early]
        return np.stack(risks, axis=1) if risks else np.zeros((len(labels), 0))

    def confidence_at(self, exit_: int, risk: float) -> float:
        """The lowest confidence at which a label of average risk has less than `risk`; 0..1."""
        if risk > self.risks[exit_, -1]:
            return 0.0
        if risk <= self.risks[exit_, 0] or self.line[exit_, 1] <= 0.0:
            return 1.0
        score = float(np.interp(risk, self.risks[exit_], self.scores[exit_]))
        return float(1.0 / (1.0 + np.exp((score - self.line[exit_, 0]) / self.line[exit_, 1])))


def doubt(confidence: np.ndarray) -> np.ndarray:
    """Log-odds of 1 - confidence; float64 [rows]."""
    clipped = np.minimum(np.maximum(np.asarray(confidence, dtype=np.float64), LEAST), 1.0 - LEAST)  # np.clip is slower
    return np.log1p(-clipped) - np.log(clipped)


@dataclass(frozen=True, slots=True)
class ExitPath:
    """Points of the path: the first lets nobody leave, the next are those of PRICES; price 0 lets everybody leave.

    Attributes:
        cuts: float64 [points, exits - 1]; a row leaves where its risk < cut. Non-decreasing along the path.
        loss: float64 [points], expected share of losses on the window, non-decreasing.
        latency: float64 [points], expected latency in latencies of the full ensemble, non-increasing.
    """

    cuts: np.ndarray
    loss: np.ndarray
    latency: np.ndarray

    def at(self, position: float) -> np.ndarray:
        """Cuts at a position between two points, 0 is the first; float64 [exits - 1]."""
        below = min(int(position), len(self.cuts) - 2)
        share = position - below
        if share >= 1.0:
            return np.asarray(self.cuts[below + 1])
        least, most = np.minimum(self.cuts[below], 1.0), np.minimum(self.cuts[below + 1], 1.0)
        return np.asarray(least + share * (most - least))

    def position_of(self, loss: float) -> float:
        """The last position with at most an expected loss."""
        point = int(np.searchsorted(self.loss, loss, side="right")) - 1
        if point >= len(self.loss) - 1:
            return float(point)
        return point + float((loss - self.loss[point]) / (self.loss[point + 1] - self.loss[point]))

    def price_at(self, eps: float) -> float:
        """The going price of a loss where the expected loss is eps."""
        point = int(np.searchsorted(self.loss, eps, side="right")) - 1
        return float(PRICES[max(point - 1, 0)])


def between(values: np.ndarray, place: float) -> float:
    """Linear interpolation at a place in an array; its ends beyond them. Ten times faster than np.interp for one."""
    below = min(max(int(place), 0), len(values) - 1)
    above = min(below + 1, len(values) - 1)
    share = min(max(place - below, 0.0), 1.0)
    return float(values[below] + share * (values[above] - values[below]))


class LikelyLost:
    """What early rows that await their full vote have likely lost, by the risk of those that left of late."""

    def __init__(self, classes: int) -> None:
        self._mean_risk = [0.0] * classes

    def add_early(self, risk: np.ndarray, service_class: np.ndarray) -> None:
        """Note rows that left early; risk float64 [rows], class of service int16 [rows]."""
        for number, row_risk in zip(service_class.tolist(), risk.tolist(), strict=True):
            self._mean_risk[number] += RISK_MEMORY * (row_risk - self._mean_risk[number])

    def losses(self, number: int, unconfirmed: float) -> float:
        """Likely losses of a class of which so many rows await their full vote, each counted 1 / q."""
        return max(0.0, unconfirmed * self._mean_risk[number] - ALWAYS_LATE)


class LossRateLimit:
    """The loss-rate limit of one class of service: aim at no more than 1.3 eps in any W answers in a row.

    W is 1000 where eps is 1 % or more, else 10 / eps. A reserve that has filled up in good times may be spent all at
    once in bad ones. The promise allows that; users still notice. So while the losses found in the last W answers come
    near 1.3 eps W, rows leave only where it costs very little. They still leave: to hold everybody until the old losses
    are W answers away would cost most latency. The promise does not need this limit.
    """

    def __init__(self) -> None:
        self._recent_losses: deque[tuple[int, float]] = deque()  # (answers until then, losses), as they were found
        self._losses = 0.0

    def lost(self, answered_rows: int, weight: float) -> None:
        """Losses were found when `answered_rows` promised rows had been answered; `weight` is their summed 1 / q."""
        self._recent_losses.append((answered_rows, weight))
        self._losses += weight

    def most_loss(self, answered_rows: int, eps: float, heaviest: float) -> float:
        """Highest share of losses to aim at now; infinity while there is no hurry.

        Args:
            answered_rows: promised rows answered so far.
            eps: promised share of losses.
            heaviest: highest 1 / q of late; a window is longer where one seen loss weighs more.
        """
        if eps <= 0.0 or not self._recent_losses:
            return float("inf")
        unit = max(heaviest, eps * LEAST_WINDOW_ROWS / EXPECTED)
        first_row = answered_rows - EXPECTED * unit / eps
        while self._recent_losses and self._recent_losses[0][0] <= first_row:
            self._losses -= self._recent_losses.popleft()[1]
        units = MOST_UNITS - self._losses / unit if self._recent_losses else MOST_UNITS
        return eps * LIMITED_SHARES[max(0, int(units))] if units < len(LIMITED_SHARES) else float("inf")
