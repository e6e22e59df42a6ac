"""Refitting one head: a linear layer on pooled features, distilled from the full vote, started from the head in use.

Cross-entropy against the soft full vote, on standardised features, by conjugate gradients (Polak and Ribiere) with an
exact line search: one descent is two matrix products, and each step is worth its time, so that a fit can be stopped at
any moment. The newest rows are held out, since those that come next are like them; the step that does best on them is
kept. What limits the fit is that it starts from a head that was trained on other rows and is stopped early.

Columns of classes that no row votes for stay as they are, and count as one class: of 1000 a stream may show 200.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from exeunt.deciding.heads import Head

HELD_OUT = 0.2  # share of the rows, the newest
LEAST_ROWS = 64
MOST_STEPS = 24
PATIENCE = 8  # steps in a row that do not help the held-out rows
RIDGE = 1e-3  # on the change of a weight, per standard deviation of its feature
LEAST_SHARE = 0.1  # a class that the full vote of some row gives this much may change its column
ENOUGH = 1e-3  # least gain on the held-out rows that makes a new head, in nats


@dataclass(frozen=True, slots=True)
class Refit:
    """What became of a fit.

    Attributes:
        head: the new head; None where nothing better was found in time.
        before: cross-entropy of the head in use on the held-out rows, nats per row; classes whose columns stay as they
            are count as one.
        after: the new head's.
        steps: descents made.
    """

    head: Head | None
    before: float
    after: float
    steps: int


def refit(
    head: Head,
    features: np.ndarray,
    target: np.ndarray,
    weights: np.ndarray,
    *,
    clock_s: Callable[[], float],
    until_s: float,
) -> Refit:
    """Fit a head to the full vote.

    Args:
        head: the one in use; the fit starts there.
        features: float16 or float32 [rows, f], oldest row first.
        target: float32 [rows, classes], the full vote.
        weights: float32 [rows], what each row counts.
        clock_s: the processor time used so far.
        until_s: when to stop, by that clock.
    """
    nothing = Refit(None, 0.0, 0.0, 0)
    features = features.astype(np.float32)
    good = np.isfinite(features).all(axis=1) & np.isfinite(target).all(axis=1)
    features, target, weights = features[good], target[good], weights[good]
    if len(features) < LEAST_ROWS:
        return nothing
    descent = _Descent(head, features, target, weights)
    if not len(descent.columns) or clock_s() >= until_s:
        return nothing
    before = best = descent.held_out_loss()
    kept, steps, idle = descent.change.copy(), 0, 0
    while steps < MOST_STEPS and idle < PATIENCE and clock_s() < until_s:
        if not descent.step():
            break
        steps += 1
        loss = descent.held_out_loss()
        idle = 0 if loss < best - ENOUGH / 10 else idle + 1
        if loss < best:
            best, kept = loss, descent.change.copy()
    if before - best < ENOUGH:
        return Refit(None, before, best, steps)
    return Refit(descent.head(kept), before, best, steps)


class _Descent:
    """Conjugate gradients on the change of a head: float32 [f + 1, columns], the last row changes the bias."""

    def __init__(self, head: Head, features: np.ndarray, target: np.ndarray, weights: np.ndarray) -> None:
        rows = len(features)
        held = max(1, int(rows * HELD_OUT))
        self._head = head
        self.columns = np.flatnonzero(target.max(axis=0) >= LEAST_SHARE)
        self._mean = features.mean(axis=0)
        spread = features.std(axis=0)
        self._scale = np.where(spread > 1e-6, 1.0 / np.maximum(spread, 1e-6), 0.0).astype(np.float32)
        inputs = np.empty((rows, features.shape[1] + 1), dtype=np.float32)
        inputs[:, :-1] = (features - self._mean) * self._scale
        inputs[:, -1] = 1.0
        scores = head.scores(features)
        scores -= scores.max(axis=1, keepdims=True)
        others = np.delete(scores, self.columns, axis=1)
        with np.errstate(divide="ignore"):
            rest = np.log(np.exp(others).sum(axis=1, keepdims=True))  # of the classes that stay, -inf without any
        goal = target[:, self.columns]
        split = rows - held
        self._inputs, self._held_inputs = inputs[:split], inputs[split:]
        self._scores, self._held_scores = scores[:split, self.columns], scores[split:, self.columns]
        self._rest, self._held_rest = rest[:split], rest[split:]
        self._goal, self._held_goal = goal[:split], goal[split:]
        left = np.maximum(1.0 - self._held_goal.sum(axis=1), 0.0)  # what the full vote gives the others
        self._held_others = left * np.where(np.isfinite(self._held_rest[:, 0]), self._held_rest[:, 0], 0.0)
        self._weights = (weights[:split] / weights[:split].sum())[:, None].astype(np.float32)
        self._held_weights = weights[split:] / weights[split:].sum()
        self.change = np.zeros((inputs.shape[1], len(self.columns)), dtype=np.float32)
        self._gradient: np.ndarray | None = None
        self._direction = np.zeros_like(self.change)

    def step(self) -> bool:
        """One descent; False where nothing is left to gain."""
        probabilities = _softmax(self._scores, self._rest)
        slack = self._weights * (probabilities - self._goal)
        gradient = self._inputs.T @ slack + RIDGE / len(self._inputs) * self.change
        direction = -gradient
        if self._gradient is not None:
            turn = float(np.vdot(gradient, gradient - self._gradient)) / float(np.vdot(self._gradient, self._gradient))
            direction += np.float32(max(0.0, turn)) * self._direction
        if float(np.vdot(direction, gradient)) >= 0.0:
            direction = -gradient
        self._gradient, self._direction = gradient, direction
        moved = self._inputs @ direction
        length = self._line_search(moved)
        if not length > 0.0:
            return False
        self.change += np.float32(length) * direction
        self._scores += np.float32(length) * moved
        self._held_scores += np.float32(length) * (self._held_inputs @ direction)
        return True

    def _line_search(self, moved: np.ndarray) -> float:
        """Length of the step by Newton's method on the line, which is convex; 0 where there is none."""
        length = 0.0
        for _ in range(3):
            probabilities = _softmax(self._scores + np.float32(length) * moved, self._rest)
            mean = (probabilities * moved).sum(axis=1, keepdims=True)
            slope = float((self._weights * (mean - (self._goal * moved).sum(axis=1, keepdims=True))).sum())
            bend = ((probabilities * moved * moved).sum(axis=1, keepdims=True) - mean * mean) * self._weights
            curve = float(bend.sum())
            if not (np.isfinite(slope) and curve > 0.0):
                break
            length = max(0.0, length - slope / curve)
        return length if np.isfinite(length) else 0.0

    def held_out_loss(self) -> float:
        """Cross-entropy on the held-out rows, nats per row."""
        peak = np.maximum(self._held_scores.max(axis=1, keepdims=True), self._held_rest)
        summed = np.exp(self._held_scores - peak).sum(axis=1) + np.exp(self._held_rest - peak)[:, 0]
        missed = (self._held_goal * self._held_scores).sum(axis=1) + self._held_others
        return float((np.log(summed) + peak[:, 0] - missed) @ self._held_weights)

    def head(self, change: np.ndarray) -> Head:
        """The head with a change, standardisation folded in."""
        weight, bias = self._head.weight.copy(), self._head.bias.copy()
        scaled = self._scale[:, None] * change[:-1]
        weight[:, self.columns] += scaled
        bias[self.columns] += change[-1] - self._mean @ scaled
        return Head(weight.astype(np.float32), bias.astype(np.float32))


def _softmax(scores: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Probabilities of the columns, float32 [rows, columns]; `rest` [rows, 1]: logarithm of the others' sum."""
    peak = np.maximum(scores.max(axis=1, keepdims=True), rest)
    found = np.exp(scores - peak)
    return np.asarray(found / (found.sum(axis=1, keepdims=True) + np.exp(rest - peak)))
