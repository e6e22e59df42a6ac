"""A bounded window of feedback: the newest rows, oldest first."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from exeunt.records.feedback import Feedback

MOST_ADDED_ROWS = 256
_COLUMNS = [column.name for column in fields(Feedback)]


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
        self._added: list[Feedback] = []  # rows that are not in the buffer yet: many small batches are put in at once
        self._added_rows = 0

    def __len__(self) -> int:
        """Rows held now."""
        return min(self._count + self._added_rows, self._capacity_rows)

    def add(self, feedback: Feedback) -> None:
        """Append rows [rows], whose arrays must not change later; the oldest fall out beyond the capacity."""
        self._added.append(feedback)
        self._added_rows += len(feedback)
        if self._added_rows >= MOST_ADDED_ROWS:
            self._put_in()

    def _put_in(self) -> None:
        if not self._added:
            return
        feedback = Feedback.joined(self._added)
        self._added, self._added_rows = [], 0
        kept = feedback if len(feedback) <= self._capacity_rows else feedback.rows(slice(-self._capacity_rows, None))
        rows, end = len(kept), self._next + len(kept)
        places: np.ndarray | slice = slice(self._next, end)  # mostly a few rows, far from the end
        if end > self._capacity_rows:
            places = np.arange(self._next, end) % self._capacity_rows
        for name in _COLUMNS:
            getattr(self._rows, name)[places] = getattr(kept, name)
        self._next = end % self._capacity_rows
        self._count = min(self._count + rows, self._capacity_rows)

    def view(self, newest_rows: int | None = None) -> Feedback:
        """A copy of the newest rows (all where None), oldest first."""
        self._put_in()
        wanted = self._count if newest_rows is None else min(newest_rows, self._count)
        return self._rows.rows((self._next - wanted + np.arange(wanted)) % self._capacity_rows)

    def clear(self) -> None:
        """Forget every row."""
        self._added, self._added_rows = [], 0
        self._count = 0
