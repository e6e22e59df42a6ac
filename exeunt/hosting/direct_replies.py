"""Direct replies: those that come while `execute()` still runs are returned by it, not sent.

A reply that is sent costs Triton's Python backend a round trip between two processes, for which the sender waits; one
that `execute()` returns costs none. A reply that has not come by then is sent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any

Key = Hashable


class DirectReplies:
    """The replies to the requests of one `execute()` at a time; safe to share between threads."""

    def __init__(self) -> None:
        self._expected: set[Key] = set()
        self._replies: dict[Key, Any] = {}
        self._lock = threading.Lock()

    def expect(self, key: Key) -> None:
        """`execute()` has a request and has not returned yet."""
        with self._lock:
            self._expected.add(key)

    def take(self, key: Key, reply: Any) -> bool:
        """Keep the reply to a request for `execute()` to return; False if it has to be sent. From any thread."""
        with self._lock:
            if key not in self._expected:
                return False
            self._expected.discard(key)
            self._replies[key] = reply
            return True

    def forget(self, key: Key) -> bool:
        """The reply to a request is sent otherwise; False if it has come already, and will be returned."""
        with self._lock:
            if key not in self._expected:
                return False
            self._expected.discard(key)
            return True

    def collect(self, keep_open: Callable[[Key], None]) -> dict[Key, Any]:
        """The replies that have come, by request.

        Args:
            keep_open: is called for every request without a reply, before anything can be sent to it.
        """
        with self._lock:
            for key in self._expected:
                keep_open(key)
            self._expected.clear()
            replies, self._replies = self._replies, {}
            return replies
