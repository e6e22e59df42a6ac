"""Feedback: rows whose full vote is known, from which tuners learn; and the newest of them.

Controller, tuners, records and replay share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from exeunt.contract import EARLY, LOSSLESS, Reason

NEVER_SEEN = -1  # in `labels` and `order`
MOST_ADDED_ROWS = 256  # that wait to be put into a window together


@dataclass(frozen=True, slots=True)
class Feedback:
    """Rows whose full vote is known, as arrays over [rows] or [rows, exits].

    The last exit's column holds the full vote. A row is *answered early* where reason is EARLY.

    Attributes:
        labels: int32 [rows, exits], the vote's label at each exit, NEVER_SEEN where it did not arrive.
        confidence: float32 [rows, exits], score of that vote, NaN where it did not arrive.
        order: int64 [rows, exits], when that vote was complete, in exits that the controller had seen complete before,
            over all tickets; NEVER_SEEN where it did not arrive. Rows of one ticket share it; replay follows it.
        answer: int32 [rows], label that was released.
        exit: int32 [rows], exit that answered.
        reason: int8 [rows], a Reason.
        q: float32 [rows], probability with which the row was chosen to finish; 1 with full feedback.
        service_class: int16 [rows], index in Settings.classes_of_service.
        tuner_version: int64 [rows], the tuner's version at the decision.
        max_risk: float32 [rows], the caller's wish, infinity where none.
        never: bool [rows], the caller wished for the full vote.
    """

    labels: np.ndarray
    confidence: np.ndarray
    order: np.ndarray
    answer: np.ndarray
    exit: np.ndarray
    reason: np.ndarray
    q: np.ndarray
    service_class: np.ndarray
    tuner_version: np.ndarray
    max_risk: np.ndarray
    never: np.ndarray

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.exit)

    @property
    def exits(self) -> int:
        """Number of exits, active or not."""
        return int(self.labels.shape[1])

    @property
    def full(self) -> np.ndarray:
        """Label of the full vote, int32 [rows]."""
        return np.asarray(self.labels[:, -1])

    @property
    def loss(self) -> np.ndarray:
        """True where the released label is not the full vote's, bool [rows]."""
        return np.asarray(self.answer != self.full)

    @property
    def promised(self) -> np.ndarray:
        """True on the rows that the promise counts: no `never`, no deadline, no fault; bool [rows]."""
        return ~self.never & (self.reason <= LOSSLESS)

    @property
    def of_full_votes_only(self) -> bool:
        """Whether no exit before the last was seen on any row: then nothing about exits can be learnt."""
        return not (self.labels[:, :-1] != NEVER_SEEN).any()

    def rows(self, selection: np.ndarray | slice) -> Feedback:
        """The selected rows (mask, indices or slice) as feedback of their own."""
        return Feedback(*(getattr(self, name)[selection] for name in _COLUMNS))

    @classmethod
    def joined(cls, parts: Sequence[Feedback]) -> Feedback:
        """All rows of `parts`, in order; at least one part, all with the same number of exits."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS))

    @classmethod
    def observed(cls, labels: np.ndarray, confidence: np.ndarray) -> Feedback:
        """Feedback of rows that waited for the full vote, every exit seen in order: calibration data.

        Args:
            labels: int [rows, exits].
            confidence: float [rows, exits].
        """
        rows, exits = labels.shape
        return cls(
            labels=labels.astype(np.int32),
            confidence=confidence.astype(np.float32),
            order=np.arange(rows * exits, dtype=np.int64).reshape(rows, exits),
            answer=labels[:, -1].astype(np.int32),
            exit=np.full(rows, exits - 1, dtype=np.int32),
            reason=np.full(rows, Reason.FULL, dtype=np.int8),
            q=np.ones(rows, dtype=np.float32),
            service_class=np.zeros(rows, dtype=np.int16),
            tuner_version=np.zeros(rows, dtype=np.int64),
            max_risk=np.full(rows, np.inf, dtype=np.float32),
            never=np.zeros(rows, dtype=bool),
        )


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
        self._rows = Feedback.observed(*np.zeros((2, capacity_rows, exits)))
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
        newest = feedback if len(feedback) <= self._capacity_rows else feedback.rows(slice(-self._capacity_rows, None))
        rows, end = len(newest), self._next + len(newest)
        places: np.ndarray | slice = slice(self._next, end)  # mostly a few rows, far from the end
        if end > self._capacity_rows:
            places = np.arange(self._next, end) % self._capacity_rows
        for name in _COLUMNS:
            getattr(self._rows, name)[places] = getattr(newest, name)
        self._next = end % self._capacity_rows
        self._count = min(self._count + rows, self._capacity_rows)

    def view(self, newest_rows: int | None = None) -> Feedback:
        """A copy of the newest rows (all where None), oldest first."""
        self._put_in()
        count = self._count if newest_rows is None else min(newest_rows, self._count)
        return self._rows.rows((self._next - count + np.arange(count)) % self._capacity_rows)

    def clear(self) -> None:
        """Forget every row."""
        self._added, self._added_rows = [], 0
        self._count = 0


def summed_weight(q: np.ndarray) -> float:
    """Sum of 1 / q, float32 [rows], in double precision; one row, the usual case, without a reduction."""
    if len(q) == 1:
        return 1.0 / float(q[0])
    return float((1.0 / q.astype(np.float64)).sum()) if len(q) else 0.0


def promise_counts(never: np.ndarray, non_finite: np.ndarray, reason: np.ndarray) -> np.ndarray:
    """Answered rows that the promise counts; bool [rows].

    Args:
        never: bool [rows], the caller asked for the full vote.
        non_finite: bool [rows], the input or a member's output was not finite when the row was decided.
        reason: int8 [rows], a Reason.
    """
    return (~(never | non_finite) & (reason <= LOSSLESS)) | (reason == EARLY)
