"""Admission: who may come in, who is merged with whom into a ticket, and which exits the ticket asks for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from exeunt.deciding.counters import Counters
from exeunt.deciding.request import Request
from exeunt.deciding.request_queue import RequestQueue
from exeunt.deciding.ticket import Ticket
from exeunt.errors import OverloadedError
from exeunt.manifest import Manifest


class Admission:
    """The door of a controller.

    Args:
        manifest: its settings bound what may wait and be in flight.
        rng: for the shadow coin.
        counters: counts tickets and refusals.

    Attributes:
        waiting: the requests that wait for a ticket.
    """

    def __init__(self, manifest: Manifest, rng: np.random.Generator, counters: Counters) -> None:
        self.waiting = RequestQueue(manifest.max_batch_size, manifest.settings.max_waiting_rows)
        self._manifest = manifest
        self._rng = rng
        self._counters = counters
        self._next_id = 1
        self._closed = False
        # the engine merges tickets at every segment by itself: there a ticket is one request
        self._most_requests = 1 if manifest.mode == "engine" else None

    def close(self) -> None:
        """Refuse newcomers from now on."""
        self._closed = True

    def offer(self, request: Request, now_us: int) -> None:
        """Queue a request.

        Raises:
            RequestError: see RequestQueue.offer.
            OverloadedError: full, or stopping.
        """
        request.arrived_us = now_us
        try:
            if self._closed:
                raise OverloadedError("the server is stopping; come again")
            self.waiting.offer(request)
        except OverloadedError:
            self._counters.refused += 1
            raise

    def next_ticket(self, in_flight: int, active: Callable[[], np.ndarray]) -> Ticket | None:
        """The oldest waiting requests as one ticket; None when nobody waits or the limit is reached.

        Args:
            in_flight: tickets that count against max_tickets.
            active: gives the exits now offered, bool [exits]; a shadow ticket asks for all.
        """
        settings = self._manifest.settings
        if in_flight >= settings.max_tickets or not len(self.waiting):
            return None
        shadow = settings.shadow_share > 0 and self._rng.random() < settings.shadow_share
        wanted = np.ones(len(self._manifest.exits), dtype=bool) if shadow else active()
        ticket = Ticket(self._next_id, self.waiting.take(self._most_requests), wanted, self._manifest.classes)
        self._next_id += 1
        self._counters.tickets += 1
        self._counters.shadow_tickets += int(shadow)
        return ticket
