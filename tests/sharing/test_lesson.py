"""Lessons: what comes back is what was sent, and nothing else is believed."""

from __future__ import annotations

import numpy as np
import pytest

from exeunt.contract import Reason
from exeunt.errors import ConfigError
from exeunt.records.feedback import NEVER_SEEN, Feedback
from exeunt.sharing.lesson import MOST_ROWS, Lessons, from_bytes, to_bytes

OFFERED = np.array([True, False, True])


def rows(count: int, seed: int = 0) -> Feedback:
    """Feedback over three exits and ten classes, some votes not seen."""
    rng = np.random.default_rng(seed)
    feedback = Feedback.observed(rng.integers(0, 10, (count, 3)), rng.random((count, 3)))
    unseen = rng.random((count, 3)) < 0.2
    unseen[:, -1] = False
    feedback.labels[unseen] = NEVER_SEEN
    feedback.confidence[unseen] = np.nan
    feedback.q[:] = rng.choice(np.array([0.25, 1.0], dtype=np.float32), count)
    return feedback


def test_a_lesson_reads_back_as_it_was_told() -> None:
    sent = rows(50)
    read, offered = from_bytes(to_bytes(sent, OFFERED), exits=3, classes=10)
    np.testing.assert_array_equal(read.labels, sent.labels)
    np.testing.assert_array_equal(read.confidence, sent.confidence)
    np.testing.assert_array_equal(read.q, sent.q)
    np.testing.assert_array_equal(offered, OFFERED)


def test_a_lesson_about_another_bag_is_refused() -> None:
    lesson = to_bytes(rows(5), OFFERED)
    for exits, classes in ((4, 10), (3, 2)):
        with pytest.raises(ConfigError, match="not a good lesson"):
            from_bytes(lesson, exits, classes)


@pytest.mark.parametrize("changed", ["label", "last", "seen", "sure", "q", "offered", "long", "short", "rows", "empty"])
def test_what_no_feedback_holds_is_refused(changed: str) -> None:
    sent, offered = rows(5), OFFERED.copy()
    if changed == "label":
        sent.labels[0, 0] = -2
    elif changed == "last":
        sent.labels[0, -1], sent.confidence[0, -1] = NEVER_SEEN, np.nan
    elif changed == "seen":
        sent.labels[0, 0], sent.confidence[0, 0] = 3, np.nan
    elif changed == "sure":
        sent.labels[0, 0], sent.confidence[0, 0] = 3, 1.5
    elif changed == "q":
        sent.q[0] = 0.0
    elif changed == "offered":
        offered[-1] = False
    lesson = to_bytes(sent, offered)
    lesson = {"long": lesson + b"x", "short": lesson[:-1], "empty": b""}.get(changed, lesson)
    if changed == "rows":
        lesson = lesson[:4] + b"\xff\xff\xff\xff" + lesson[8:]
    with pytest.raises(ConfigError, match="not a good lesson"):
        from_bytes(lesson, exits=3, classes=10)


def test_random_bytes_are_refused() -> None:
    rng = np.random.default_rng(0)
    lesson = to_bytes(rows(5), OFFERED)
    refused = 0
    for _ in range(500):
        mutant = bytearray(lesson)
        mutant[int(rng.integers(len(mutant)))] = int(rng.integers(256))
        try:
            from_bytes(bytes(mutant), exits=3, classes=10)
        except ConfigError:
            refused += 1
    assert refused > 100


def test_the_newest_rows_that_teach_are_kept() -> None:
    lessons = Lessons()
    for seed in range(10):
        lessons.add(rows(100, seed))
    lesson = lessons.take()
    assert lesson is not None and len(lesson) == MOST_ROWS
    np.testing.assert_array_equal(lesson.labels[-1], _teaching(rows(100, 9)).labels[-1])
    assert lessons.take() is None


def test_rows_outside_the_promise_are_not_told() -> None:
    sent = rows(10)
    sent.reason[:5] = Reason.DEADLINE
    sent.never[5:8] = True
    lessons = Lessons()
    lessons.add(sent)
    lesson = lessons.take()
    assert lesson is not None and len(lesson) == len(_teaching(sent.rows(slice(8, None))))


def _teaching(feedback: Feedback) -> Feedback:
    """Rows on which an exit was seen."""
    return feedback.rows((feedback.labels[:, :-1] != NEVER_SEEN).any(axis=1))
