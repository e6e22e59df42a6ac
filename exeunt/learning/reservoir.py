"""Which finished rows are kept: a class-balanced reservoir to learn from, and the newest rows to judge by.

Both are bounded in rows, bytes and age, and in memory only: features are their callers' data.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from exeunt.learning.rows import RowTable, ServedRows

FADE_ROWS = 2000.0  # rows after which the count of a class seen before is halved


class Reservoir:
    """Rows of every class in turn, the newest of each: a full one gives up the oldest row of its largest class.

    Args:
        most_rows: rows held.
        most_bytes: bytes held, whatever `most_rows` says.
        most_age_us: rows that came earlier are wiped.
        classes: number of classes.
    """

    def __init__(self, most_rows: int, most_bytes: int, most_age_us: int, classes: int) -> None:
        self._most_rows, self._most_bytes, self._most_age_us = most_rows, most_bytes, most_age_us
        self._table: RowTable | None = None
        self._free: list[int] = []
        self._places: list[deque[tuple[int, int]]] = [deque() for _ in range(classes)]  # (arrived_us, place)
        self._counts = np.zeros(classes, dtype=np.int64)
        self._recent_rows = np.zeros(classes)  # rows that came, each counted 1 / q, fading

    def __len__(self) -> int:
        """Rows held."""
        return int(self._counts.sum())

    def add(self, rows: ServedRows) -> None:
        """Take rows in, oldest first; labels below 0 are left out."""
        rows = rows.rows(rows.labels >= 0)
        if not len(rows):
            return
        if self._table is None:
            self._table = RowTable(rows, max(1, min(self._most_rows, self._most_bytes // rows.row_bytes)))
            self._free = list(range(self._table.places))[::-1]
        rows = rows.rows(slice(-self._table.places, None))
        places: list[int] = []
        for label, arrived_us in zip(rows.labels.tolist(), rows.arrived_us.tolist(), strict=True):
            places.append(self._place(label))
            self._places[label].append((arrived_us, places[-1]))
        self._table.put(np.array(places, dtype=np.intp), rows)  # of rows that share a place the last one stays
        self._recent_rows *= 0.5 ** (len(rows) / FADE_ROWS)
        np.add.at(self._recent_rows, rows.labels, 1.0 / rows.q)

    def _place(self, label: int) -> int:
        """A place for a row of a class: a free one, or the oldest row's of the largest class."""
        if self._free:
            place = self._free.pop()
        else:
            largest = int(self._counts.argmax())
            place = self._places[largest].popleft()[1]
            self._counts[largest] -= 1
        self._counts[label] += 1
        return place

    def prune(self, now_us: int) -> int:
        """Wipe rows that are too old; how many."""
        if self._table is None:
            return 0
        old: list[int] = []
        for label in np.flatnonzero(self._counts).tolist():
            class_places = self._places[label]
            while class_places and class_places[0][0] < now_us - self._most_age_us:
                old.append(class_places.popleft()[1])
                self._counts[label] -= 1
        if old:
            self._table.wipe(np.array(old))
            self._free += old
        return len(old)

    def rows(self) -> ServedRows | None:
        """A copy of all rows, oldest first; None where there is none."""
        places = [place for class_places in self._places for _, place in class_places]
        if self._table is None or not places:
            return None
        rows = self._table.copy_of(np.array(places))
        return rows.rows(np.argsort(rows.numbers, kind="stable"))

    def weights(self, labels: np.ndarray) -> np.ndarray:
        """What a held row of each label stands for: rows of its class that came of late per row held.

        Kept within a factor of 4 of the mean, so that no row decides alone.

        Args:
            labels: int [rows].

        Returns:
            float32 [rows], of mean 1.
        """
        weights = self._recent_rows[labels] / np.maximum(self._counts[labels], 1)
        weights = weights / max(float(weights.mean()), 1e-9) if len(weights) else weights
        weights = np.clip(weights, 0.25, 4.0)
        return (weights / max(float(weights.mean()), 1e-9)).astype(np.float32) if len(weights) else weights


class LatestRows:
    """The newest rows as they came, to judge by.

    Args:
        most_rows: rows held.
        most_bytes: bytes held, whatever `most_rows` says.
        most_age_us: rows that came earlier are wiped.
    """

    def __init__(self, most_rows: int, most_bytes: int, most_age_us: int) -> None:
        self._most_rows, self._most_bytes, self._most_age_us = most_rows, most_bytes, most_age_us
        self._table: RowTable | None = None
        self._places: deque[tuple[int, int, int]] = deque()  # (arrived_us, number, place)
        self._next = 0

    def __len__(self) -> int:
        """Rows held."""
        return len(self._places)

    def add(self, rows: ServedRows) -> None:
        """Take rows in, oldest first."""
        if not len(rows):
            return
        if self._table is None:
            self._table = RowTable(rows, max(1, min(self._most_rows, self._most_bytes // rows.row_bytes)))
        most = self._table.places
        rows = rows.rows(slice(-most, None))
        places = (self._next + np.arange(len(rows))) % most
        self._table.put(places, rows)
        self._next = int((self._next + len(rows)) % most)
        self._places.extend(zip(rows.arrived_us.tolist(), rows.numbers.tolist(), places.tolist(), strict=True))
        while len(self._places) > most:
            self._places.popleft()

    def prune(self, now_us: int) -> int:
        """Wipe rows that are too old; how many."""
        old: list[int] = []
        while self._places and self._places[0][0] < now_us - self._most_age_us:
            old.append(self._places.popleft()[2])
        if old and self._table is not None:
            self._table.wipe(np.array(old))
        return len(old)

    def since(self, number: int) -> int:
        """How many rows are held from this number on."""
        return sum(row_number >= number for _, row_number, _ in self._places)

    def rows(self, first: int) -> ServedRows | None:
        """A copy of the rows from number `first` on, oldest first; None where there is none."""
        places = [place for _, number, place in self._places if number >= first]
        return self._table.copy_of(np.array(places)) if self._table is not None and places else None
