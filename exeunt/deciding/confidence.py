"""Confidence: a score of a vote in [0, 1]; higher means surer. NaN in, NaN out, and NaN never leaves early."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def max_probability(vote: np.ndarray) -> np.ndarray:
    """Highest probability of each row; float32 [rows] from float32 [rows, classes] (Apparate, public code)."""
    return np.asarray(vote.max(axis=1))


def margin(vote: np.ndarray) -> np.ndarray:
    """Highest minus second highest probability of each row; float32 [rows] (CALM's softmax gap)."""
    if vote.shape[1] == 1:
        return max_probability(vote)
    two = np.partition(vote, -2, axis=1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0])


def entropy(vote: np.ndarray) -> np.ndarray:
    """1 - entropy / log(classes) of each row; float32 [rows] (BranchyNet's entropy, scaled as in FastBERT)."""
    if vote.shape[1] == 1:
        return np.where(np.isnan(vote[:, 0]), np.float32(np.nan), np.float32(1.0))
    kept = np.maximum(vote, np.finfo(np.float32).tiny)  # 0 log 0 = 0; maximum keeps NaN
    spread = -(vote * np.log(kept)).sum(axis=1) / np.float32(np.log(vote.shape[1]))
    return np.clip(np.float32(1.0) - spread, 0.0, 1.0).astype(np.float32)


SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "max_probability": max_probability,
    "margin": margin,
    "entropy": entropy,
}
