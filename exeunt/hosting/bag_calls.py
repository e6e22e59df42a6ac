"""The outstanding calls of NAME_bag: which votes this process asked for, and what proves that a tap answers it.

Any client can call NAME_exit and NAME_bag, and Triton cannot forbid it. So each call carries a secret in the tensor
TICKET, which the ensemble hands on to its taps. Votes are taken only under a secret of a call that is under way, only
those that the call asked for, and each once. The secret is void when the call has ended. It is never logged.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from exeunt.manifest import Manifest

SECRET_BITS = 62  # a positive int64
Pair = tuple[int, int]  # (member, depth)


def draw_secret() -> int:
    """A number that nobody can guess, from the operating system's source."""
    return secrets.randbits(SECRET_BITS)


class RefusedTapError(Exception):
    """Votes that no call asked for; the text says why, without the secret."""


@dataclass(slots=True)
class BagCall:
    """One call of NAME_bag.

    Attributes:
        rows: how many rows its votes have.
        expected: (member, depth) of the votes that have not come yet.
        ticket_id: whose votes are passed on at once; None: the caller collects them in `votes`.
        ticket_rows: indices of the ticket's rows that it runs; None = all.
        votes: those that came, where they are collected.
    """

    rows: int
    expected: set[Pair]
    ticket_id: int | None = None
    ticket_rows: np.ndarray | None = None
    votes: dict[Pair, np.ndarray] = field(default_factory=dict)


@dataclass(slots=True)
class BagCalls:
    """The calls that are under way, by secret; safe to share between threads.

    Args:
        manifest: knows the members and the number of classes.
        draw: makes a secret.

    Attributes:
        refused: taps that were refused since start.
    """

    manifest: Manifest
    draw: Callable[[], int] = draw_secret
    refused: int = 0
    _calls: dict[int, BagCall] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(
        self, rows: int, pairs: Iterable[Pair], ticket_id: int | None = None, ticket_rows: np.ndarray | None = None
    ) -> int:
        """A call is about to be made; see BagCall.

        Args:
            rows: that it runs.
            pairs: (member, depth) of the votes that its taps send.
            ticket_id: whose votes are passed on at once; None collects them.
            ticket_rows: indices of the ticket's rows that run; None = all.

        Returns:
            the secret, to be sent in TICKET.
        """
        call = BagCall(rows, set(pairs), ticket_id, ticket_rows)
        with self._lock:
            secret = self.draw()
            while secret in self._calls:
                secret = self.draw()
            self._calls[secret] = call
        return secret

    def close(self, secret: int) -> BagCall:
        """The call has ended: its secret is void."""
        with self._lock:
            return self._calls.pop(secret)

    def take(self, ticket: np.ndarray, votes: Mapping[Pair, np.ndarray]) -> tuple[BagCall, dict[Pair, np.ndarray]]:
        """Votes of a tap, as they arrived.

        Args:
            ticket: the tensor TICKET, int64 [rows, 1].
            votes: (member, depth) -> float32 [rows, classes], in memory that is the server's.

        Returns:
            the call, and copies of the votes that are new; empty where other taps brought them all before.

        Raises:
            RefusedTapError: no call under way asked for this; counted.
        """
        with self._lock:
            try:
                call = self._call_of(ticket)
                self._check(call, votes)
            except RefusedTapError:
                self.refused += 1
                raise
            fresh = {pair: array.copy() for pair, array in votes.items() if pair in call.expected}
            call.expected.difference_update(fresh)
            if call.ticket_id is None:
                call.votes.update(fresh)
        return call, fresh

    def _call_of(self, ticket: np.ndarray) -> BagCall:
        if ticket.dtype != np.int64 or ticket.ndim != 2 or ticket.shape[1] != 1 or not len(ticket):
            raise RefusedTapError(f"TICKET: expected int64 [rows, 1], got {ticket.dtype} {list(ticket.shape)}")
        call = self._calls.get(int(ticket[0, 0]))
        if call is None or (ticket != ticket[0, 0]).any():
            raise RefusedTapError("TICKET is not one of a call that is under way")
        if len(ticket) != call.rows:
            raise RefusedTapError(f"TICKET: expected {call.rows} rows, got {len(ticket)}")
        return call

    def _check(self, call: BagCall, votes: Mapping[Pair, np.ndarray]) -> None:
        wanted = (call.rows, len(self.manifest.labels))
        if not votes:
            raise RefusedTapError("no votes")
        for (member, depth), array in votes.items():
            name = f"{self.manifest.members[member].name}.{depth}"
            if array.dtype != np.float32 or array.shape != wanted:
                raise RefusedTapError(f"{name}: expected float32 {list(wanted)}, got {array.dtype} {list(array.shape)}")
