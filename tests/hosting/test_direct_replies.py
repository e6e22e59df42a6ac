"""Replies that `execute()` returns itself."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from exeunt.hosting.direct_replies import PATIENCE_US, PAUSE_US, DirectReplies

LONG_S = 60.0  # longer than any test may take


def test_a_reply_that_has_come_is_returned_and_not_sent() -> None:
    replies = DirectReplies(0.0)
    replies.expect(1)

    assert replies.take(1, "answer")
    assert replies.collect(pytest.fail, 0) == {1: "answer"}


def test_a_request_without_a_reply_is_kept_open_and_its_reply_sent() -> None:
    replies, kept_open = DirectReplies(0.0), []
    replies.expect(1)

    assert replies.collect(kept_open.append, 0) == {}
    assert kept_open == [1]
    assert not replies.take(1, "answer")


def test_a_second_reply_to_a_request_is_not_kept() -> None:
    replies = DirectReplies(0.0)
    replies.expect(1)
    replies.take(1, "first")

    assert not replies.take(1, "second")
    assert replies.collect(pytest.fail, 0) == {1: "first"}


def test_collect_waits_for_the_last_reply() -> None:
    replies = DirectReplies(LONG_S)
    for key in (1, 2):
        replies.expect(key)
    replies.take(1, "one")
    other = threading.Thread(target=replies.take, args=(2, "two"))
    other.start()

    assert replies.collect(pytest.fail, 0) == {1: "one", 2: "two"}
    other.join()


@pytest.mark.parametrize("seed", range(20))
def test_every_request_gets_one_reply_however_threads_interleave(seed: int) -> None:
    rng = np.random.default_rng(seed)
    replies = DirectReplies(0.0002)
    open_: set[int] = set()
    sent: list[int] = []
    returned: list[int] = []

    def reply_to(keys: list[int]) -> None:
        for key in keys:
            if not replies.take(key, key):
                assert key in open_, "sent before it was kept open"
                sent.append(key)

    threads = []
    for first in range(0, 200, 10):
        keys = list(range(first, first + 10))
        for key in keys:
            replies.expect(key)
        threads.append(threading.Thread(target=reply_to, args=(rng.permutation(keys).tolist(),)))
        threads[-1].start()
        returned += replies.collect(open_.add, 0)
    for thread in threads:
        thread.join()

    assert sorted(sent + returned) == list(range(200))


def test_a_reply_that_is_forgotten_is_neither_awaited_nor_kept_open() -> None:
    replies = DirectReplies(LONG_S)
    replies.expect(1)

    assert replies.forget(1)
    assert replies.collect(pytest.fail, 0) == {}
    assert not replies.take(1, "answer")


def test_a_reply_that_has_come_cannot_be_forgotten() -> None:
    replies = DirectReplies(0.0)
    replies.expect(1)
    replies.take(1, "answer")

    assert not replies.forget(1)
    assert replies.collect(pytest.fail, 0) == {1: "answer"}


def test_nothing_is_waited_for_where_call_has_followed_call_for_long() -> None:
    replies, kept_open = DirectReplies(LONG_S), []
    for start_us in range(PAUSE_US + 1, PAUSE_US + PATIENCE_US + 2, PAUSE_US):
        replies.begin(start_us)
        replies.end(start_us)
    replies.expect(1)

    assert replies.collect(kept_open.append, start_us) == {}
    assert kept_open == [1]


def test_after_a_pause_replies_are_waited_for_again() -> None:
    replies = DirectReplies(LONG_S)
    replies.begin(2 * PATIENCE_US)
    replies.expect(1)
    other = threading.Thread(target=replies.take, args=(1, "one"))
    other.start()

    assert replies.collect(pytest.fail, 2 * PATIENCE_US) == {1: "one"}
    other.join()
