"""Votes on many samples, computed chunk by chunk, so that not all members' probabilities are in memory at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exeunt.deciding import votes
from exeunt_export.features import chunks

_CHUNK_ROWS = 512
HELD_BYTES = 1 << 27  # of all members' probabilities at all depths, where schedules and expectations are judged
_LEAST_ROWS = 100


def vote(
    probabilities: Sequence[np.ndarray], weights: Sequence[float], kind: str, rows: np.ndarray | None = None
) -> np.ndarray:
    """The weighted vote, some rows at a time.

    Args:
        probabilities: per member float32 [all rows, classes], in memory or mapped.
        weights: per member.
        kind: "soft" or "hard".
        rows: numbers of the rows; None = all.

    Returns:
        float32 [rows, classes].
    """
    numbers = np.arange(len(probabilities[0])) if rows is None else rows
    parts = [
        votes.vote([array[numbers[part]] for array in probabilities], weights, kind)
        for part in chunks(len(numbers), _CHUNK_ROWS)
    ]
    return np.concatenate(parts)


def spread_sample(rows: np.ndarray, most_rows: int, row_bytes: int, held_bytes: int = HELD_BYTES) -> np.ndarray:
    """Evenly spread rows, as many as memory allows: at most `most_rows`, and 100 or more where there are as many.

    Args:
        rows: row numbers.
        most_rows: whatever their size.
        row_bytes: memory for one row.
        held_bytes: memory for all.
    """
    count = min(len(rows), most_rows, max(_LEAST_ROWS, held_bytes // max(row_bytes, 1)))
    return rows if count == len(rows) else rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]
