"""Isotonic regression: the non-decreasing sequence nearest to some values in weighted least squares."""

from __future__ import annotations

import numpy as np


def pooled(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pool adjacent violators (Ayer and others 1955), whole falling runs at a time.

    Which violators are pooled first makes no difference. A run m1 >= m2 >= m3 ends up in one pool anyway: the mean of
    m1 and m2 is at least m3.

    Args:
        values: float [n].
        weights: float [n], positive.

    Returns:
        mean of every pool, float64 [pools], ascending; and where each begins, int64 [pools].
    """
    summed, weight = values * np.asarray(weights, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    starts = np.arange(len(values))
    while True:
        means = summed / weight
        heads = np.flatnonzero(np.append(True, means[1:] > means[:-1])[: len(means)])
        if len(heads) == len(means):
            return means, starts
        summed, weight, starts = np.add.reduceat(summed, heads), np.add.reduceat(weight, heads), starts[heads]


def isotonic(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The non-decreasing sequence nearest to `values`; float64 [n]; arguments as in `pooled`."""
    means, starts = pooled(values, weights)
    return np.repeat(means, np.diff(np.append(starts, len(values))))
