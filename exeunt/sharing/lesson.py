"""Lessons: feedback of one replica that others learn from. A fixed form of bytes, checked when it is read.

b"EXL1", rows and exits (two uint32), then whole arrays, little-endian:
offered uint8 [exits], labels int32 [rows, exits], confidence float32 [rows, exits], q float32 [rows]
"""

from __future__ import annotations

import struct
import threading
from dataclasses import replace

import numpy as np

from exeunt.reading import reading
from exeunt.records.feedback import NEVER_SEEN, Feedback

MOST_ROWS = 256  # of a lesson
_HEAD = struct.Struct("<4sII")
_MARK = b"EXL1"


def to_bytes(feedback: Feedback, offered: np.ndarray) -> bytes:
    """A lesson.

    Args:
        feedback: rows to learn from.
        offered: bool [exits], the exits offered now.
    """
    head = _HEAD.pack(_MARK, len(feedback), feedback.exits)
    arrays = (
        offered.astype("u1"),
        feedback.labels.astype("<i4"),
        feedback.confidence.astype("<f4"),
        feedback.q.astype("<f4"),
    )
    return head + b"".join(array.tobytes() for array in arrays)


def from_bytes(lesson: bytes, exits: int, classes: int) -> tuple[Feedback, np.ndarray]:
    """Read a lesson back.

    Returns:
        the rows, as if each had waited for the full vote, and the exits offered, bool [exits].

    Raises:
        ConfigError: it is no lesson about such a bag.
    """
    with reading("the store", "lesson"):
        mark, rows, width = _HEAD.unpack_from(lesson)
        if mark != _MARK or width != exits or not 0 < rows <= MOST_ROWS:
            raise ValueError(f"of {rows} rows and {width} exits; this bag has {exits}")
        if len(lesson) != _HEAD.size + exits + rows * (8 * exits + 4):
            raise ValueError("cut off")
        at = _HEAD.size
        offered = np.frombuffer(lesson, "u1", exits, at)
        labels = np.frombuffer(lesson, "<i4", rows * exits, at + exits).reshape(rows, exits)
        at += exits + labels.nbytes
        confidence = np.frombuffer(lesson, "<f4", rows * exits, at).reshape(rows, exits)
        q = np.frombuffer(lesson, "<f4", rows, at + confidence.nbytes)
        _check(offered, labels, confidence, q, classes)
        taught = replace(Feedback.observed(labels, confidence), q=q.astype(np.float32))
    return taught, offered.astype(bool)


def _check(offered: np.ndarray, labels: np.ndarray, confidence: np.ndarray, q: np.ndarray, classes: int) -> None:
    has_vote = labels != NEVER_SEEN
    good = (offered <= 1).all() and offered[-1] == 1 and has_vote[:, -1].all()
    good = good and (labels >= NEVER_SEEN).all() and (labels < classes).all()
    good = good and (np.isfinite(confidence) == has_vote).all() and (confidence[has_vote] >= 0).all()
    if not (good and (confidence[has_vote] <= 1).all() and (q > 0).all() and (q <= 1).all()):
        raise ValueError("holds numbers that no feedback holds")


class Lessons:
    """Keeps the newest feedback for the next lesson.

    Use it as a listener: `controller.decisions.on_feedback.append(lessons.add)`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: list[Feedback] = []
        self._rows = 0

    def add(self, feedback: Feedback) -> None:
        """Take rows, whose arrays must not change later; cheap."""
        with self._lock:
            self._parts.append(feedback)
            self._rows += len(feedback)
            while self._rows - len(self._parts[0]) >= MOST_ROWS:
                self._rows -= len(self._parts.pop(0))

    def take(self) -> Feedback | None:
        """The newest promised rows on which an exit was seen, at most MOST_ROWS; None where there are none."""
        with self._lock:
            parts, self._parts, self._rows = self._parts, [], 0
        if not parts:
            return None
        rows = Feedback.joined(parts)
        good = rows.promised & (rows.labels[:, :-1] != NEVER_SEEN).any(axis=1) & (rows.full != NEVER_SEEN)
        good &= (np.isfinite(rows.confidence) == (rows.labels != NEVER_SEEN)).all(axis=1)
        row_indices = np.flatnonzero(good)[-MOST_ROWS:]
        return rows.rows(row_indices) if len(row_indices) else None
