"""A bounded window of feedback: the newest rows, oldest first."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from exeunt.records.feedback import Feedback


class FeedbackWindow:
    """Ring buffer of the newest `capacity_rows` rows of feedback.

    >>> import numpy as np
    >>> window = FeedbackWindow(capacity_rows=3, exits=1)
    >>> for label in range(5):
    ...     window.add(Feedback.observed(np.full((1, 1), label), np.ones((1, 1))))
    >>> window.view().labels[:, 0].tolist()
    [2, 3, 4]
    """

    def __init__(self, capacity_rows: int, exits: int) -> None:
        empty = Feedback.observed(np.zeros((capacity_rows, exits)), np.zeros((capacity_rows, exits)))
        self._rows = empty
        self._capacity_rows = capacity_rows
        self._next = 0  # where the next row goes
        self._count = 0

    def __len__(self) -> int:
        """Rows held now."""
        return self._count

    def add(self, feedback: Feedback) -> None:
        """Append rows [rows]; the oldest fall out beyond the capacity."""
        kept = feedback.rows(slice(-self._capacity_rows, None))
        places = (self._next + np.arange(len(kept))) % self._capacity_rows
        for each in fields(Feedback):
            getattr(self._rows, each.name)[places] = getattr(kept, each.name)
        self._next = int((self._next + len(kept)) % self._capacity_rows)
        self._count = min(self._count + len(kept), self._capacity_rows)

    def view(self, newest_rows: int | None = None) -> Feedback:
        """A copy of the newest rows (all where None), oldest first."""
        wanted = self._count if newest_rows is None else min(newest_rows, self._count)
        return self._rows.rows((self._next - wanted + np.arange(wanted)) % self._capacity_rows)

    def clear(self) -> None:
        """Forget every row."""
        self._count = 0
