"""Ensemble mode: features and final votes that taps bring, gathered by ticket until ramps can learn from them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from exeunt.bag_stages import Pair
from exeunt.deciding.ticket import Ticket
from exeunt.hosting.calls.bag_calls import Brought
from exeunt.hosting.calls.stage_queue import TicketWork
from exeunt.manifest import Manifest


class TapOutputs:
    """Hands over tickets whose taps have brought all that ramps learn from; nothing where no ramp learns."""

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
                work.tap_outputs[pair] = array
            elif pair not in work.tap_outputs:  # else an earlier call brought it, of these rows and more
                work.tap_outputs[pair] = np.full((work.ticket.rows, array.shape[1]), np.nan, dtype=array.dtype)
                work.tap_outputs[pair][rows] = array
        if self._pairs <= work.tap_outputs.keys():
            self._take(work.ticket, work.tap_outputs)
