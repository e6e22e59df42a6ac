"""Risk: the probability that the label of an exit's vote is not the full vote's, learnt from a window of feedback.

Two steps per exit. A logistic regression on the log-odds of the confidence, with one offset per label (some classes are
harder: on noisy digits the offsets alone save a tenth of the latency at the same loss), ridged towards the prior
"risk = 1 - confidence". Then isotonic regression (pool adjacent violators) of the losses on that score, so that the
risk is right on average in every range of scores and monotone in the confidence for every label.
"""

from __future__ import annotations

import numpy as np

from exeunt.tuning.error_budget.exit_path import even_starts
from exeunt.tuning.error_budget.rule import LEAST, Calibration, doubt
from exeunt.tuning.isotonic import isotonic

NEWTON_STEPS = 8  # at most; a warm start takes one or two
NEWTON_ENOUGH = 0.05  # in log-odds; a smaller step is the last
LABEL_PRIOR = 2.0  # inverse variance of a label's offset, in log-odds
LINE_PRIOR = 1.0  # inverse variance of intercept and slope around 0 and 1
BINS = 32  # of the isotonic step
BIN_PRIOR_ROWS = 32.0  # rows by which the regression's own risk counts in every bin


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
        has_vote = np.isfinite(confidence[:, exit_])
        if not has_vote.any():
            continue
        label, weight = np.maximum(labels[has_vote, exit_], 0), weights[has_vote, exit_]
        doubts = doubt(confidence[has_vote, exit_])
        lost = (labels[has_vote, exit_] != labels[has_vote, -1]).astype(np.float64)
        _newton(line[exit_], offsets[exit_], doubts, label, lost, weight)
        score = line[exit_, 0] + line[exit_, 1] * doubts + offsets[exit_][label]
        scores[exit_], risks[exit_] = _isotonic(score, lost, weight)
    return Calibration(line, offsets, scores, risks)


def _newton(
    line: np.ndarray, offsets: np.ndarray, doubts: np.ndarray, label: np.ndarray, lost: np.ndarray, weight: np.ndarray
) -> None:
    """Fit intercept, slope and offsets in place: ridged logistic regression, Newton's method.

    The Hessian is an arrow (2 x 2 for the line, a diagonal for the offsets), so a step costs O(rows + classes).
    """
    classes = len(offsets)
    for _ in range(NEWTON_STEPS):
        risk = _logistic(line[0] + line[1] * doubts + offsets[label])
        slack = weight * (risk - lost)
        curve = weight * np.maximum(risk * (1.0 - risk), LEAST)
        pull = np.bincount(label, slack, classes) + LABEL_PRIOR * offsets
        bend = np.bincount(label, curve, classes) + LABEL_PRIOR
        tie = np.stack([bend - LABEL_PRIOR, np.bincount(label, curve * doubts, classes)])  # [2, classes]
        gradient = np.array([slack.sum() + LINE_PRIOR * line[0], slack @ doubts + LINE_PRIOR * (line[1] - 1.0)])
        hessian = np.array(
            [[curve.sum(), curve @ doubts], [curve @ doubts, curve @ (doubts * doubts)]]
        ) + LINE_PRIOR * np.eye(2)
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
