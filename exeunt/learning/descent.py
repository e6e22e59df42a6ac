"""Linear heads fitted to soft votes by conjugate gradients: refitted in service (refit.py), trained at export.

Cross-entropy is convex in a linear layer. Conjugate gradients (Polak and Ribiere), preconditioned by how often classes
are voted for, need two products of matrices per step, no step size, and are worth their time at every step, so that a
fit can be stopped at any moment. Rows that are held out say when: the step that does best on them is kept (early
stopping), which limits the fit as a penalty on the weights would.

Inputs come chunk by chunk, so that they need not be in memory; scores and votes, [rows, columns], are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

_SLOW_STEPS = 3
_LINE_STEPS = 12  # of a line search, at most
_LEAST_CURVATURE = 1e-5  # of a class that nobody votes for
_ENOUGH_SLOPE = 0.1  # of the slope at its start: more exactness is not worth its time


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows to fit to, or to judge the fit by.

    Attributes:
        inputs: gives the rows' standardised features from the first row to the last, chunks of float32 [n, f].
        scores: float32 [rows, columns], of the head that the fit starts from; kept up to date in place.
        goal: float32 [rows, columns], the full vote.
        weights: float32 [rows], what a row counts; their sum is 1.
        rest: float32 [rows], logarithm of the summed exponentials of scores that stay as they are; None without any.
    """

    inputs: Callable[[], Iterable[np.ndarray]]
    scores: np.ndarray
    goal: np.ndarray
    weights: np.ndarray
    rest: np.ndarray | None = None

    def parts(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Chunks of inputs and which rows they are."""
        start = 0
        for inputs in self.inputs():
            yield slice(start, start + len(inputs)), inputs
            start += len(inputs)

    def move(self, change: np.ndarray) -> None:
        """Bring the scores up to date; `change` float32 [f + 1, columns], the last row of the bias."""
        for part, inputs in self.parts():
            self.scores[part] += _scores(inputs, change)

    def loss(self, part_rows: int) -> float:
        """Cross-entropy, nats per row; `part_rows` at a time."""
        total = 0.0
        for start in range(0, len(self.scores), part_rows):
            part = slice(start, start + part_rows)
            scores, goal = self.scores[part], self.goal[part]
            rest = self._rest(part)
            peak = np.maximum(scores.max(axis=1), rest)
            summed = np.exp(scores - peak[:, None]).sum(axis=1) + np.exp(rest - peak)
            staying = np.maximum(1.0 - goal.sum(axis=1), 0.0)  # share of the full vote for scores that stay
            hit = (goal * scores).sum(axis=1) + staying * np.where(np.isfinite(rest), rest, 0.0)
            total += float((np.log(summed) + peak - hit) @ self.weights[part])
        return total

    def probabilities(self, part: slice, moved: np.ndarray | float = 0.0) -> np.ndarray:
        """Softmax of the scores of some rows, shifted by `moved`; float32 [n, columns]."""
        scores = self.scores[part] + moved
        rest = self._rest(part)
        peak = np.maximum(scores.max(axis=1), rest)
        np.exp(scores - peak[:, None], out=scores)
        scores /= (scores.sum(axis=1) + np.exp(rest - peak))[:, None]
        return np.asarray(scores)

    def _rest(self, part: slice) -> np.ndarray:
        none = np.full(len(self.scores[part]), -np.inf, dtype=np.float32)
        return none if self.rest is None else self.rest[part]


@dataclass(frozen=True, slots=True)
class Fit:
    """What a descent found.

    Attributes:
        change: float32 [f + 1, columns], of the weights on standardised inputs; the last row changes the bias.
        last: likewise, after the last step; the rows' scores are there.
        before: cross-entropy on the held-out rows at the start, nats per row.
        after: with `change`.
        steps: made.
    """

    change: np.ndarray
    last: np.ndarray
    before: float
    after: float
    steps: int


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a descent goes.

    Attributes:
        ridge: penalty on half the squared change of a weight, nats per row.
        most_steps: at most.
        patience: steps in a row that may fail to gain `least_gain` on the held-out rows.
        least_gain: see `patience`, nats per row.
        converged: a descent is at its end where several steps in a row gain less on the fitted rows, nats per row.
    """

    ridge: float
    most_steps: int
    patience: int = 1 << 30
    least_gain: float = 0.0
    converged: float = 0.0


def descend(
    examples: Examples,
    held_out: Examples | None,
    width: int,
    limits: Limits,
    *,
    start: np.ndarray | None = None,
    go_on: Callable[[], bool] = lambda: True,
) -> Fit:
    """Fit a head.

    Args:
        examples: rows to fit to.
        held_out: rows that say which step is kept; None keeps the last.
        width: number of features.
        limits: how far.
        start: float32 [f + 1, columns], a change that the rows' scores have in them already; None: no change.
        go_on: asked before every step.
    """
    descent = _Descent(examples, width, limits.ridge, start)
    before = best = (held_out or examples).loss(descent.chunk_rows)
    best_change, steps, idle, slow = descent.change.copy(), 0, 0, 0
    while steps < limits.most_steps and idle < limits.patience and slow < _SLOW_STEPS and go_on():
        step = descent.step()
        if step is None:
            break
        steps += 1
        slow = slow + 1 if descent.gain < limits.converged else 0
        if held_out is None:
            continue
        held_out.move(step)
        loss = held_out.loss(descent.chunk_rows)
        idle = 0 if loss < best - limits.least_gain else idle + 1
        if loss < best:
            best, best_change = loss, descent.change.copy()
    if held_out is None:
        best, best_change = examples.loss(descent.chunk_rows), descent.change
    return Fit(best_change, descent.change, before, best, steps)


class _Descent:
    """Where a descent is: the change so far, the last gradient and the last direction.

    Attributes:
        gain: of the last step on the fitted rows, about, nats per row.
    """

    def __init__(self, examples: Examples, width: int, ridge: float, start: np.ndarray | None) -> None:
        self._examples, self._ridge = examples, np.float32(ridge)
        shape = width + 1, examples.goal.shape[1]
        self.change = np.zeros(shape, dtype=np.float32) if start is None else start.copy()
        self.gain = 0.0
        self.chunk_rows = max((len(inputs) for _, inputs in examples.parts()), default=1)
        # columns of rare classes are flatter by so much; without it steps would be those of the frequent ones
        self._curvature = examples.weights @ examples.goal + np.float32(_LEAST_CURVATURE)
        self._last: tuple[np.ndarray, float] | None = None  # gradient, and its squared length by the curvature
        self._direction = np.zeros_like(self.change)
        self._moved = np.empty_like(examples.scores)

    def step(self) -> np.ndarray | None:
        """One step; float32 [f + 1, columns], what it changed. None where nothing is left to gain."""
        gradient = self._slope()
        downhill = -gradient / self._curvature
        direction = downhill
        if self._last is not None:
            before, steepness = self._last
            turn = float(np.vdot(downhill, before - gradient)) / steepness
            direction = downhill + np.float32(max(0.0, turn)) * self._direction
        if float(np.vdot(direction, gradient)) >= 0.0:
            direction = downhill
        self._last = gradient, -float(np.vdot(downhill, gradient))
        self._direction = direction
        for part, inputs in self._examples.parts():
            self._moved[part] = _scores(inputs, direction)
        length = np.float32(self._length())
        if not length > 0.0:
            return None
        step = np.asarray(length * direction)
        self.gain = -0.5 * float(np.vdot(step, gradient))  # as if the loss were a parabola along the line
        self.change += step
        self._moved *= length
        self._examples.scores[:] += self._moved
        return step

    def _slope(self) -> np.ndarray:
        """Gradient of the penalised cross-entropy, float32 [f + 1, columns]."""
        examples = self._examples
        gradient = self._ridge * self.change
        for part, inputs in examples.parts():
            slack = examples.probabilities(part)
            slack -= examples.goal[part]
            slack *= examples.weights[part, None]
            gradient[:-1] += inputs.T @ slack
            gradient[-1] += slack.sum(axis=0)
        return gradient

    def _length(self) -> float:
        """Length of the step: where the slope along the line, which grows, is 0 or little of what it was; 0 for none.

        Newton's method between bounds: where votes are nearly sure, it overshoots far.
        """
        low, high, length = 0.0, np.inf, 0.0
        first = 0.0
        for _ in range(_LINE_STEPS):
            slope, curve = self._along(length)
            if not (np.isfinite(slope) and curve > 0.0):
                high = length
            elif slope < 0.0:
                low, first = length, first or slope
            else:
                high = length
            if length and abs(slope) <= _ENOUGH_SLOPE * abs(first):
                return length
            length = length - slope / curve if curve > 0.0 else np.inf
            if not low < length < high:
                length = (low + high) / 2.0
            if not np.isfinite(length):
                break
        return low

    def _along(self, length: float) -> tuple[float, float]:
        """First and second derivative of the penalised cross-entropy after `length` of the direction."""
        examples, moved, direction = self._examples, self._moved, self._direction
        curve = float(self._ridge) * float(np.vdot(direction, direction))
        slope = float(self._ridge) * float(np.vdot(direction, self.change)) + length * curve
        for start in range(0, len(moved), self.chunk_rows):
            part = slice(start, start + self.chunk_rows)
            line, weights = moved[part], examples.weights[part]
            probabilities = examples.probabilities(part, np.float32(length) * line)
            mean = np.einsum("rc,rc->r", probabilities, line)
            slope += float(weights @ (mean - np.einsum("rc,rc->r", examples.goal[part], line)))
            probabilities *= line
            curve += float(weights @ (np.einsum("rc,rc->r", probabilities, line) - mean * mean))
        return slope, curve


def _scores(inputs: np.ndarray, change: np.ndarray) -> np.ndarray:
    return np.asarray(inputs @ change[:-1] + change[-1])
