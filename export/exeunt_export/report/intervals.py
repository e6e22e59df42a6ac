"""How far a share or a mean that was seen on few rows may be from that of all rows: 95 % intervals."""

from __future__ import annotations

import numpy as np

Z95 = 1.96  # standard deviations that hold 95 % of a normal distribution


def share_range(hits: int, rows: int) -> tuple[float, float]:
    """The interval of a share that was seen on `hits` of `rows` rows (Wilson, JASA 1927).

    >>> [round(share, 3) for share in share_range(0, 100)]
    [0.0, 0.037]
    """
    share, spread = hits / rows, Z95**2 / rows
    middle = (share + spread / 2) / (1 + spread)
    half = np.sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def mean_range(values: np.ndarray) -> tuple[float, float]:
    """The interval of the mean of a population from which `values` were drawn; float64 [rows], two rows or more."""
    half = Z95 * float(values.std(ddof=1)) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)
