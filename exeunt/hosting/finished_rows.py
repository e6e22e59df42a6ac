"""Finished rows on their way from the runner of members to the learner."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

import numpy as np

from exeunt.contract import LOSSLESS
from exeunt.deciding.heads import Pair
from exeunt.deciding.ticket import Ticket
from exeunt.learning.rows import ServedRows, half, logs_of
from exeunt.manifest import Manifest

MOST_QUEUED_ROWS = 2048  # rows that come faster than they are drained are left out


class FinishedRows:
    """A queue of finished tickets; safe to share between threads.

    Args:
        manifest: of the bag.
        ramps: (member, depth) of the ramps that can learn.

    Attributes:
        closed: `add` leaves everything out, for now.
        left_out_rows: rows that `add` left out, so far.
    """

    def __init__(self, manifest: Manifest, ramps: frozenset[Pair]) -> None:
        self.closed = False
        self.left_out_rows = 0
        self._depths = [member.depth for member in manifest.members]
        self._ramps = sorted(ramps)
        self._queue: deque[tuple[Ticket, dict[Pair, np.ndarray]]] = deque()
        self._rows = 0
        self._lock = threading.Lock()

    def add(self, ticket: Ticket, votes: dict[Pair, np.ndarray]) -> None:
        """A ticket has finished, with these features and final votes; called by the runner, so it only queues."""
        with self._lock:
            if self.closed or self._rows + ticket.rows > MOST_QUEUED_ROWS:
                self.left_out_rows += ticket.rows
                return
            self._queue.append((ticket, votes))
            self._rows += ticket.rows

    def drain_rows(self, now_us: int) -> Iterator[ServedRows]:
        """Empty the queue: the rows of each ticket that may teach, if any."""
        while True:
            with self._lock:
                if not self._queue:
                    return
                ticket, votes = self._queue.popleft()
                self._rows -= ticket.rows
            if len(rows := self._rows_of(ticket, votes, now_us)):
                yield rows

    def _rows_of(self, ticket: Ticket, votes: dict[Pair, np.ndarray], now_us: int) -> ServedRows:
        """Rows within the promise, with a full vote, finite everywhere."""
        labels = ticket.labels[:, -1]
        good = ticket.teaches & ~ticket.never & ~ticket.non_finite & (ticket.reason <= LOSSLESS) & (labels >= 0)
        rows = np.flatnonzero(good)
        final = [votes[member, depth][rows] for member, depth in enumerate(self._depths)]
        return ServedRows(
            features={pair: half(votes[pair][rows]) for pair in self._ramps},
            logs=logs_of(np.stack(final, axis=1)),
            labels=labels[rows],
            q=ticket.q[rows],
            numbers=np.zeros(len(rows), dtype=np.int64),
            arrived_us=np.full(len(rows), now_us, dtype=np.int64),
        )
