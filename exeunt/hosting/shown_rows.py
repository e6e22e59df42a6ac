"""Ensemble mode: what the calls of a ticket have shown, gathered until ramps can learn from it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from exeunt.bag_stages import Pair
from exeunt.deciding.ticket import Ticket
from exeunt.hosting.bag_calls import Brought
from exeunt.hosting.stage_queue import TicketWork
from exeunt.manifest import Manifest


class ShownRows:
    """Hands over tickets that have shown all that ramps learn from; nothing where nobody learns.

    Args:
        manifest: of the bag.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._pairs = frozenset((number, member.depth) for number, member in enumerate(manifest.members))
        self._take: Callable[[Ticket, Brought], None] | None = None

    def learn_from(self, ramps: frozenset[Pair], take: Callable[[Ticket, Brought], None]) -> None:
        """See exeunt.hosting.ramp_learning.LearningRunner."""
        self._pairs |= ramps
        self._take = take

    def add(self, work: TicketWork, brought: Brought, rows: np.ndarray) -> None:
        """A call has brought final votes and features of some rows (indices), all that ran; the controller has them."""
        if self._take is None:
            return
        for pair, array in brought.items():
            if len(rows) == work.ticket.rows:
                work.shown[pair] = array
            elif pair not in work.shown:  # else an earlier call brought it, of these rows and more
                work.shown[pair] = np.full((work.ticket.rows, array.shape[1]), np.nan, dtype=array.dtype)
                work.shown[pair][rows] = array
        if self._pairs <= work.shown.keys():
            self._take(work.ticket, work.shown)
