"""Direct replies: those that come while `execute()` still runs are returned by it, not sent.

A reply that is sent costs Triton's Python backend a round trip between two processes, for which the sender waits; one
that `execute()` returns costs none. So that of a small bag waits for a moment; a reply that takes longer is sent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any

Key = Hashable


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

    def collect(self, keep_open: Callable[[Key], None]) -> dict[Key, Any]:
        """Wait for a moment; the replies that have come.

        Args:
            keep_open: is called for every request without a reply, before anything can be sent to it.
        """
        with self._changed:
            if self._wait_s:
                self._changed.wait_for(lambda: not self._waiting, self._wait_s)
            for key in self._waiting:
                keep_open(key)
            self._waiting.clear()
            replies, self._replies = self._replies, {}
            return replies
