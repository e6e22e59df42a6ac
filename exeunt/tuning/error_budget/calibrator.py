"""Risk: the probability that the label of an exit's vote is not the full vote's, learnt from a window of feedback.

Two steps per exit. A logistic regression on the log-odds of the confidence, with one offset per label (some classes are
harder: on noisy digits the offsets alone save a tenth of the latency at the same loss), ridged towards the prior
"risk = 1 - confidence". Then isotonic regression (pool adjacent violators) of the losses on that score, so that the
risk is right on average in every range of scores and monotone in the confidence for every label.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from exeunt.tuning.error_budget.exit_path import even_starts
from exeunt.tuning.isotonic import isotonic

LEAST = 1e-6  # probabilities are kept this far from 0 and 1
NEWTON_STEPS = 8  # at most; a warm start takes one or two
NEWTON_ENOUGH = 0.05  # in log-odds; a smaller step is the last
LABEL_PRIOR = 2.0  # inverse variance of a label's offset, in log-odds
LINE_PRIOR = 1.0  # inverse variance of intercept and slope around 0 and 1
BINS = 32  # of the isotonic step
BIN_PRIOR_ROWS = 32.0  # rows by which the regression's own risk counts in every bin


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
            known = (labels >= 0) & (labels < self.offsets.shape[1])
            score += np.where(known, self.offsets[exit_][np.where(known, labels, 0)], 0.0)
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
        kept = min(max(confidence, LEAST), 1.0 - LEAST)
        intercept, slope = self.line[exit_].tolist()
        score = intercept + slope * (math.log1p(-kept) - math.log(kept))
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
    kept = np.minimum(np.maximum(np.asarray(confidence, dtype=np.float64), LEAST), 1.0 - LEAST)  # np.clip is slower
    return np.log1p(-kept) - np.log(kept)


def prior(exits: int) -> Calibration:
    """Before any feedback: risk = 1 - confidence."""
    scores = np.linspace(-np.log(1 / LEAST), np.log(1 / LEAST), BINS)
    return Calibration(
        line=np.tile([0.0, 1.0], (exits - 1, 1)),
        offsets=np.zeros((exits - 1, 1)),
        scores=np.tile(scores, (exits - 1, 1)),
        risks=np.tile(_logistic(scores), (exits - 1, 1)),
    )


def forgotten(calibration: Calibration, changed: np.ndarray) -> Calibration:
    """A calibration that knows nothing of the exits in `changed` (bool [exits]): there every risk is 1."""
    fresh, early = prior(len(changed)), changed[:-1, None]
    return Calibration(
        line=np.where(early, fresh.line, calibration.line),
        offsets=np.where(early, 0.0, calibration.offsets),
        scores=np.where(early, fresh.scores, calibration.scores),
        risks=np.where(early, 1.0, calibration.risks),
    )


def calibrate(labels: np.ndarray, confidence: np.ndarray, weights: np.ndarray, before: Calibration) -> Calibration:
    """Learn the risk of every exit from a window.

    Args:
        labels: int [rows, exits], the last column is the full vote's.
        confidence: float [rows, exits], NaN where not seen.
        weights: float [rows, exits], recency x 1/q.
        before: the previous calibration; Newton's method starts there.
    """
    exits = labels.shape[1]
    classes = max(before.offsets.shape[1], int(labels.max(initial=0)) + 1)
    line, offsets = before.line.copy(), np.zeros((exits - 1, classes))
    offsets[:, : before.offsets.shape[1]] = before.offsets
    scores, risks = before.scores.copy(), before.risks.copy()
    for exit_ in range(exits - 1):
        seen = np.isfinite(confidence[:, exit_])
        if not seen.any():
            continue
        label, weight = np.maximum(labels[seen, exit_], 0), weights[seen, exit_]
        x = doubt(confidence[seen, exit_])
        lost = (labels[seen, exit_] != labels[seen, -1]).astype(np.float64)
        _newton(line[exit_], offsets[exit_], x, label, lost, weight)
        score = line[exit_, 0] + line[exit_, 1] * x + offsets[exit_][label]
        scores[exit_], risks[exit_] = _isotonic(score, lost, weight)
    return Calibration(line, offsets, scores, risks)


def _newton(
    line: np.ndarray, offsets: np.ndarray, x: np.ndarray, label: np.ndarray, lost: np.ndarray, weight: np.ndarray
) -> None:
    """Fit intercept, slope and offsets in place: ridged logistic regression, Newton's method.

    The Hessian is an arrow (2 x 2 for the line, a diagonal for the offsets), so a step costs O(rows + classes).
    """
    classes = len(offsets)
    for _ in range(NEWTON_STEPS):
        risk = _logistic(line[0] + line[1] * x + offsets[label])
        slack = weight * (risk - lost)
        curve = weight * np.maximum(risk * (1.0 - risk), LEAST)
        pull = np.bincount(label, slack, classes) + LABEL_PRIOR * offsets
        bend = np.bincount(label, curve, classes) + LABEL_PRIOR
        tie = np.stack([bend - LABEL_PRIOR, np.bincount(label, curve * x, classes)])  # [2, classes]
        gradient = np.array([slack.sum() + LINE_PRIOR * line[0], slack @ x + LINE_PRIOR * (line[1] - 1.0)])
        hessian = np.array([[curve.sum(), curve @ x], [curve @ x, curve @ (x * x)]]) + LINE_PRIOR * np.eye(2)
        step = np.linalg.solve(hessian - (tie / bend) @ tie.T, gradient - (tie / bend) @ pull)
        moves = (pull - tie.T @ step) / bend
        longest = max(1.0, float(np.abs(step).max()), float(np.abs(moves).max()))  # damp: at most 1 in log-odds
        line -= step / longest
        offsets -= moves / longest
        line[1] = max(line[1], 0.0)
        if longest <= 1.0 and np.abs(step).max() < NEWTON_ENOUGH:
            break


def _isotonic(score: np.ndarray, lost: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and risks, both float64 [BINS] ascending, by isotonic regression on bins."""
    order = np.argsort(score)
    starts = even_starts(_logistic(score[order]), BINS)
    rows = np.add.reduceat(weight[order], starts)
    centres = np.maximum.accumulate(np.add.reduceat((weight * score)[order], starts) / rows)
    losses = np.add.reduceat((weight * lost)[order], starts) + BIN_PRIOR_ROWS * _logistic(centres)
    rows = rows + BIN_PRIOR_ROWS
    risks = isotonic(losses / rows, rows)
    missing = BINS - len(centres)  # few rows make few bins: repeat the last
    return np.pad(centres, (0, missing), mode="edge"), np.pad(risks, (0, missing), mode="edge")


def _logistic(z: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(z, -50.0, 50.0))))
