"""Replies that are held back after a pause, until Triton has answered a question as it should."""

import threading

import pytest

from exeunt.hosting import in_step
from exeunt.hosting.guard import Guard
from exeunt.hosting.in_step import InStep

SOON_S = 60.0  # of a thread's work, on any machine
PAUSE_S = 5.0


class Process:
    """A process with clocks of its own, and what Triton answers it.

    Attributes:
        monotonic_s, calendar_s: its clocks.
        words: that it asked.
        sent: replies that were sent.
        ends: why it ended.
        lines: for the operator.
    """

    def __init__(self, answer=lambda process, word: word):
        self.monotonic_s, self.calendar_s = 100.0, 1e9
        self.words, self.sent, self.ends, self.lines = [], [], [], []
        self.over = threading.Event()
        self._answer = answer
        self.step = InStep(self._ask, self._end, Guard(), self._say, lambda: (self.monotonic_s, self.calendar_s))

    def stop_for(self, seconds):
        self.monotonic_s, self.calendar_s = self.monotonic_s + seconds, self.calendar_s + seconds

    def send(self, reply):
        self.step.send(lambda: self.sent.append(reply))

    def _ask(self, word):
        self.words.append(word)
        return self._answer(self, word)

    def _end(self, problem):
        self.ends.append(problem)
        self.step._stop.set()  # a process that ends does nothing more
        self.over.set()

    def _say(self, line):
        self.lines.append(line)
        self.over.set()

    def __enter__(self):
        self.step.start()
        return self

    def __exit__(self, *_):
        self.step.close()


@pytest.fixture
def impatient(monkeypatch):
    """As patient as a test."""
    monkeypatch.setattr(in_step, "RECEIVED_WITHIN_S", 0.5)
    monkeypatch.setattr(in_step, "ANSWERED_WITHIN_S", 0.1)


def see(process, word):
    """The question comes in."""
    assert process.step.recognises(word)


def await_sent(process, count):
    """Wait for replies that another thread sends."""
    waiter = threading.Event()
    for _ in range(int(SOON_S / 0.01)):
        if len(process.sent) >= count:
            return
        waiter.wait(0.01)
    raise AssertionError(f"sent: {process.sent}")


def test_a_process_that_never_stood_still_sends_at_once_and_asks_nothing():
    with Process() as process:
        process.send("reply")
        assert process.sent == ["reply"] and process.words == []


def test_what_was_held_back_is_sent_in_its_order_once_the_question_is_answered():
    go_on = threading.Event()

    def answer(process, word):
        see(process, word)
        go_on.wait(SOON_S)
        return f"ask again ({word})"

    with Process(answer) as process:
        process.stop_for(PAUSE_S)
        for reply in ("first", "second"):
            process.send(reply)
        assert process.sent == []
        go_on.set()
        await_sent(process, 2)
        assert process.sent == ["first", "second"] and not process.ends


def test_a_process_whose_question_gets_the_answer_to_another_ends_and_sends_nothing():
    def answer(process, word):
        see(process, word)
        return "somebody else's"

    with Process(answer) as process:
        process.stop_for(PAUSE_S)
        process.send("reply")
        assert process.over.wait(SOON_S)
        assert "stood still for 5.0 s" in process.ends[0] and "the answer to another" in process.ends[0]
        assert process.sent == []


def test_a_process_whose_question_comes_in_but_is_never_answered_ends(impatient):
    def answer(process, word):
        see(process, word)
        process.over.wait(SOON_S)
        return ""

    with Process(answer) as process:
        process.stop_for(PAUSE_S)
        assert process.over.wait(SOON_S)
        assert "did not pass an answer on" in process.ends[0]


def test_a_process_whose_question_never_comes_in_ends(impatient):
    def answer(process, word):
        process.over.wait(SOON_S)
        return ""

    with Process(answer) as process:
        process.stop_for(PAUSE_S)
        assert process.over.wait(SOON_S)
        assert "did not pass a question on" in process.ends[0]


def test_a_question_that_triton_refuses_holds_nothing_up_since_a_model_may_be_loading(monkeypatch):
    monkeypatch.setattr(in_step, "REFUSED_S", 0.1)
    with Process(lambda process, word: "not ready") as process:
        process.stop_for(PAUSE_S)
        process.send("warm")
        await_sent(process, 1)
        assert not process.ends


def test_a_process_that_stands_still_while_it_asks_asks_anew_and_believes_only_the_second_answer():
    first_asked = threading.Event()

    def answer(process, word):
        if len(process.words) == 1:
            first_asked.set()
            process.over.wait(SOON_S)
            return ""
        see(process, word)
        return word

    with Process(answer) as process:
        process.stop_for(PAUSE_S)
        assert first_asked.wait(SOON_S)
        process.stop_for(PAUSE_S)
        assert process.over.wait(SOON_S)
        assert not process.ends and len(set(process.words)) == 2


def test_a_calendar_that_jumps_ahead_is_a_pause_since_triton_waits_by_it():
    with Process() as process:
        process.calendar_s += PAUSE_S
        assert process.step.in_doubt


def test_a_pause_shorter_than_any_that_triton_minds_is_none():
    with Process() as process:
        process.stop_for(0.4)
        process.send("reply")
        assert process.sent == ["reply"]


def test_a_strangers_word_is_not_taken_for_the_question():
    with Process(lambda process, word: process.over.wait(SOON_S) and "") as process:
        assert not process.step.recognises("0")
        process.stop_for(PAUSE_S)
        assert not process.step.recognises("None")
        process.over.set()


def test_a_reply_that_fails_when_it_is_sent_late_does_not_keep_back_the_others():
    with Process(lambda process, word: word) as process:
        process.stop_for(PAUSE_S)
        process.step.send(lambda: 1 / 0)
        process.send("reply")
        await_sent(process, 1)
