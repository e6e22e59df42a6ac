"""Weights of the members' votes at an early exit, fitted on calibration rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ROUNDS = 60  # of expectation maximisation; the likelihood is concave, so there is one maximum
LEAST_WEIGHT = 0.01  # so that no member is silenced for ever by a small calibration set


def fitted_weights(ballots: Sequence[np.ndarray], bag: Sequence[float], full: np.ndarray) -> tuple[float, ...]:
    """Weights under which the vote has the full vote's label most often.

    Candidates are the bag's weights, equal ones, and those of the likeliest mixture (expectation maximisation of
    sum_m w_m p_m[full label]); the best by agreement wins, by likelihood among equals, so the result is never worse
    than equal weights on these rows.

    Args:
        ballots: one float32 [rows, classes] per voting member.
        bag: the bag's weights of those members.
        full: int [rows], labels of the full vote.

    Returns:
        one weight per voting member, sum 1.
    """
    count = len(ballots)
    if count == 1:
        return (1.0,)
    stacked = np.stack([ballot.astype(np.float64) for ballot in ballots])
    likelihoods = stacked[:, np.arange(len(full)), full]  # [members, rows]: probability of the full vote's label
    candidates = [
        _as_shares(np.asarray(bag, dtype=np.float64)),
        np.full(count, 1.0 / count),
        _likeliest_weights(likelihoods),
    ]
    best = max(candidates, key=lambda weights: _agreement(weights, stacked, likelihoods, full))
    return tuple(float(weight) for weight in best)


def _agreement(
    weights: np.ndarray, stacked: np.ndarray, likelihoods: np.ndarray, full: np.ndarray
) -> tuple[float, float]:
    """Agreement with the full vote, then mean log-likelihood."""
    vote = np.tensordot(weights, stacked, axes=1)
    return float((vote.argmax(axis=1) == full).mean()), float(np.log(weights @ likelihoods + 1e-12).mean())


def _likeliest_weights(likelihoods: np.ndarray) -> np.ndarray:
    weights = np.full(len(likelihoods), 1.0 / len(likelihoods))
    for _ in range(ROUNDS):
        parts = weights[:, None] * likelihoods + 1e-12
        weights = (parts / parts.sum(axis=0)).mean(axis=1)
    return _as_shares(np.maximum(weights, LEAST_WEIGHT))


def _as_shares(weights: np.ndarray) -> np.ndarray:
    return np.asarray(weights / weights.sum())
