"""Replies that `execute()` returns itself."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from exeunt.hosting.direct_replies import DirectReplies


def test_a_reply_that_has_come_is_returned_and_not_sent() -> None:
    replies = DirectReplies()
    replies.expect(1)

    assert replies.take(1, "answer")
    assert replies.collect(pytest.fail) == {1: "answer"}


def test_a_request_without_a_reply_is_kept_open_and_its_reply_sent() -> None:
    replies, kept_open = DirectReplies(), []
    replies.expect(1)

    assert replies.collect(kept_open.append) == {}
    assert kept_open == [1]
    assert not replies.take(1, "answer")


def test_a_second_reply_to_a_request_is_not_kept() -> None:
    replies = DirectReplies()
    replies.expect(1)
    replies.take(1, "first")

    assert not replies.take(1, "second")
    assert replies.collect(pytest.fail) == {1: "first"}


def test_a_reply_that_is_forgotten_is_not_kept_open() -> None:
    replies = DirectReplies()
    replies.expect(1)

    assert replies.forget(1)
    assert replies.collect(pytest.fail) == {}
    assert not replies.take(1, "answer")


def test_a_reply_that_has_come_cannot_be_forgotten() -> None:
    replies = DirectReplies()
    replies.expect(1)
    replies.take(1, "answer")

    assert not replies.forget(1)
    assert replies.collect(pytest.fail) == {1: "answer"}


@pytest.mark.parametrize("seed", range(20))
def test_every_request_gets_one_reply_however_threads_interleave(seed: int) -> None:
    rng = np.random.default_rng(seed)
    replies = DirectReplies()
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
        returned += replies.collect(open_.add)
    for thread in threads:
        thread.join()

    assert sorted(sent + returned) == list(range(200))
