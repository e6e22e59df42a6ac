"""Streams: every row once, in parts, to whoever asks by the right name."""

import itertools

import numpy as np
import pytest

from exeunt.deciding.request import AnswerArrays, Release
from exeunt.errors import OverloadedError, RequestError, ServingError
from exeunt.hosting.streams import FORGOTTEN_AFTER_US, NOTHING_LEFT, Streams


class Desk:
    """Streams with names 1, 2, ... and a clock that is set."""

    def __init__(self, most: int = 10) -> None:
        self.parts: list = []
        self.now_us = 0
        numbers = itertools.count(1)
        self.streams = Streams(self.parts.append, lambda: next(numbers), lambda: self.now_us, most)

    def leave(self, stream, *rows, last=False):
        rows = np.array(rows)
        zeros = np.zeros(len(rows))
        answer = AnswerArrays(np.stack([rows, rows], axis=1), rows * 10, zeros, zeros, zeros)
        self.streams.released(Release(stream, 0, answer=answer, rows=rows, last=last))

    def fail(self, stream):
        self.streams.released(Release(stream, 0, error=ServingError("broken")))


@pytest.fixture
def desk():
    return Desk()


def test_who_waits_gets_rows_as_soon_as_they_leave(desk):
    desk.leave(desk.streams.begin("first"), 2, 0)
    (part,) = desk.parts
    assert (part.caller, part.rows.tolist(), part.answer.label.tolist()) == ("first", [2, 0], [20, 0])


def test_rows_that_left_meanwhile_come_together_at_once(desk):
    stream = desk.streams.begin("first")
    desk.leave(stream, 0)
    desk.leave(stream, 3)
    desk.leave(stream, 1, 2)
    desk.streams.go_on(desk.parts[0].rest, "second")
    assert desk.parts[1].rows.tolist() == [3, 1, 2]
    assert desk.parts[1].answer.probabilities[:, 0].tolist() == [3, 1, 2]


def test_after_the_last_part_nothing_is_left(desk):
    desk.leave(desk.streams.begin("first"), 0, last=True)
    assert desk.parts[0].rest == NOTHING_LEFT and len(desk.streams) == 0


def test_an_error_comes_after_the_rows_that_were_answered(desk):
    stream = desk.streams.begin("first")
    desk.leave(stream, 0)
    desk.leave(stream, 1)
    desk.fail(stream)
    desk.streams.go_on(stream.name, "second")
    desk.streams.go_on(stream.name, "third")
    assert desk.parts[1].rows.tolist() == [1]
    assert isinstance(desk.parts[2].error, ServingError) and len(desk.streams) == 0


@pytest.mark.parametrize("name", [NOTHING_LEFT, 77])
def test_a_name_that_nobody_was_told_is_refused(desk, name):
    desk.leave(desk.streams.begin("first"), 0)
    with pytest.raises(RequestError, match="nothing of that name"):
        desk.streams.go_on(name, "stranger")


def test_two_cannot_wait_for_one_stream(desk):
    stream = desk.streams.begin("first")
    with pytest.raises(RequestError, match="waits"):
        desk.streams.go_on(stream.name, "second")


def test_a_stream_that_was_refused_never_began(desk):
    desk.streams.end(desk.streams.begin("first"))
    assert len(desk.streams) == 0 and desk.parts == []


def test_no_more_than_the_most_are_open():
    desk = Desk(most=2)
    desk.streams.begin("a")
    desk.streams.begin("b")
    with pytest.raises(OverloadedError, match="2 streams"):
        desk.streams.begin("c")


def test_what_nobody_asks_for_is_forgotten():
    desk = Desk(most=1)
    desk.leave(desk.streams.begin("gone"), 0)
    desk.now_us = FORGOTTEN_AFTER_US + 1
    desk.streams.begin("newcomer")
    assert len(desk.streams) == 1


def test_who_waits_is_not_forgotten():
    desk = Desk(most=2)
    stream = desk.streams.begin("patient")
    desk.now_us = FORGOTTEN_AFTER_US + 1
    desk.streams.begin("newcomer")
    desk.leave(stream, 0, last=True)
    assert desk.parts[0].caller == "patient"
