"""Times by number of rows, from a profile of some batch sizes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def times_by_rows(profile: Mapping[int, float], most_rows: int) -> list[float]:
    """Time for 0 to `most_rows` rows: between profiled sizes interpolated, beyond the largest in proportion to them.

    Args:
        profile: batch size -> time, at least one.
        most_rows: of the table.
    """
    sizes = sorted(profile)
    rows = np.arange(most_rows + 1)
    times = np.interp(rows, sizes, [profile[size] for size in sizes])
    beyond = rows > sizes[-1]
    times[beyond] = profile[sizes[-1]] * rows[beyond] / sizes[-1]
    times[0] = 0.0
    return [float(time) for time in times]
