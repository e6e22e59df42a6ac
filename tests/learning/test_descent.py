"""Conjugate gradients on soft votes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from exeunt.learning.descent import Examples, Fit, Limits, descend
from tests.learning.world import softmax

WIDTH, CLASSES = 6, 4
TEACHER = np.random.default_rng(0).normal(size=(WIDTH, CLASSES)).astype(np.float32)


def examples(rows: int, seed: int, chunk: int | None = None, rest: float | None = None) -> Examples:
    """Rows of a linear teacher, seen by a head of zeros."""
    inputs = np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(np.float32)
    scores = np.zeros((rows, CLASSES), np.float32)
    weights = np.full(rows, 1 / rows, np.float32)
    parts = [inputs[start : start + (chunk or rows)] for start in range(0, rows, chunk or rows)]
    others = None if rest is None else np.full(rows, rest, np.float32)
    return Examples(lambda: parts, scores, softmax(inputs @ TEACHER), weights, others)


def fit(rows: Examples, held_out: Examples, steps: int = 60, ridge: float = 0.0) -> Fit:
    return descend(rows, held_out, WIDTH, Limits(ridge, steps))


def entropy(goal: np.ndarray) -> float:
    return float(-(goal * np.log(goal)).sum(axis=1).mean())


def test_a_linear_teacher_is_found() -> None:
    held_out = examples(400, 2)
    descent = fit(examples(400, 1), held_out)
    assert descent.before == pytest.approx(np.log(CLASSES))
    assert descent.after == pytest.approx(entropy(held_out.goal), abs=1e-4)
    learnt = descent.change[:-1] - descent.change[:-1].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(learnt, TEACHER - TEACHER.mean(axis=1, keepdims=True), atol=0.05)


def test_no_step_makes_the_fitted_rows_worse() -> None:
    losses = [fit(examples(100, 1), examples(100, 1), steps).after for steps in range(8)]
    assert all(later < earlier for earlier, later in pairwise(losses))


def test_chunks_give_the_fit_of_the_whole() -> None:
    whole = fit(examples(200, 1), examples(90, 2), 10)
    parts = fit(examples(200, 1, chunk=64), examples(90, 2, chunk=32), 10)
    np.testing.assert_allclose(parts.change, whole.change, rtol=1e-3, atol=1e-4)


def test_a_ridge_keeps_weights_small() -> None:
    free, bound = (fit(examples(200, 1), examples(200, 1), ridge=ridge).change[:-1] for ridge in (0.0, 1.0))
    assert np.abs(bound).max() < 0.2 * np.abs(free).max()


def test_the_step_that_does_best_on_held_out_rows_is_kept() -> None:
    rng = np.random.default_rng(3)
    noise = examples(30, 1)
    noise.goal[:] = softmax(5 * rng.normal(size=noise.goal.shape))  # nothing to learn from the inputs
    held_out = examples(400, 2)
    held_out.goal[:] = softmax(5 * rng.normal(size=held_out.goal.shape))
    scores = fit(noise, held_out).change
    after = softmax(next(held_out.parts())[1] @ scores[:-1] + scores[-1])
    assert -(held_out.goal * np.log(after)).sum(axis=1).mean() <= np.log(CLASSES) + 1e-5


def test_what_the_other_scores_hold_is_not_given_away() -> None:
    rows = examples(400, 1, rest=2.0)
    rows.goal[:] *= 0.5  # the full vote gives the other half to scores that stay
    held_out = examples(200, 2, rest=2.0)
    held_out.goal[:] *= 0.5
    fit(rows, held_out)
    powers = np.exp(rows.scores).sum(axis=1)
    assert np.mean(powers / (powers + np.exp(2.0))) == pytest.approx(0.5, abs=1e-3)


def test_a_fit_ends_when_it_may_not_go_on() -> None:
    may_go_on = iter([True, True, False])
    descent = descend(examples(50, 1), examples(50, 2), WIDTH, Limits(0.0, 9), go_on=lambda: next(may_go_on))
    assert descent.steps == 2


def test_a_converged_descent_ends() -> None:
    descent = descend(examples(200, 1), examples(200, 2), WIDTH, Limits(0.1, 500, converged=1e-4))
    assert 3 < descent.steps < 100


def test_a_descent_goes_on_where_another_has_ended() -> None:
    rows = examples(200, 1)
    first = descend(rows, None, WIDTH, Limits(1e-3, 5))
    second = descend(rows, None, WIDTH, Limits(1e-3, 60), start=first.last)
    whole = fit(examples(200, 1), examples(200, 1), 60, ridge=1e-3)
    np.testing.assert_allclose(second.last, whole.last, atol=0.02)
