"""Direct replies: those that come while `execute()` still runs are returned by it, not sent.

A reply that is sent costs Triton's Python backend a round trip between two processes, for which the sender waits; one
that `execute()` returns costs none. So that of a small bag waits for a moment; a reply that takes longer is sent.

What comes meanwhile waits in Triton, where nothing bounds it. So where the next call has come at once for a while,
nothing is waited for until Triton has handed over all that it has: the controller's queue is bounded, and fair.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any

Key = Hashable
PAUSE_US = 1000  # a call that comes later than this after the one before: nothing had waited
PATIENCE_US = 100_000  # longest time without a pause in which replies are waited for


class DirectReplies:
    """The replies to the requests of one `execute()` at a time.

    Args:
        wait_s: how long `collect` waits for replies.
    """

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._waiting: set[Key] = set()
        self._replies: dict[Key, Any] = {}
        self._changed = threading.Condition()
        self._ended_us = self._pause_us = 0

    def begin(self, now_us: int) -> None:
        """A call of `execute()` begins."""
        if now_us - self._ended_us > PAUSE_US:
            self._pause_us = now_us

    def end(self, now_us: int) -> None:
        """It returns."""
        self._ended_us = now_us

    def expect(self, key: Key) -> None:
        """A request was taken in; `execute()` has not returned yet."""
        with self._changed:
            self._waiting.add(key)

    def take(self, key: Key, reply: Any) -> bool:
        """Keep the reply to a request for `execute()` to return; False if it has to be sent. From any thread."""
        with self._changed:
            if key not in self._waiting:
                return False
            self._waiting.discard(key)
            self._replies[key] = reply
            if not self._waiting:
                self._changed.notify()
            return True

    def forget(self, key: Key) -> bool:
        """The reply to a request will not be returned; False if it has come already, and will be."""
        with self._changed:
            if key not in self._waiting:
                return False
            self._waiting.discard(key)
            return True

    def collect(self, keep_open: Callable[[Key], None], now_us: int) -> dict[Key, Any]:
        """Wait for a moment; the replies that have come.

        Args:
            keep_open: is called for every request without a reply, before anything can be sent to it.
            now_us: the time.
        """
        with self._changed:
            if self._wait_s and now_us - self._pause_us < PATIENCE_US:
                self._changed.wait_for(lambda: not self._waiting, self._wait_s)
            for key in self._waiting:
                keep_open(key)
            self._waiting.clear()
            replies, self._replies = self._replies, {}
            return replies
