"""Whole tickets: every member from end to end in the calling thread, past the queue of segments.

For short plain tickets, which cost more to hand from thread to thread than to run; and for tickets of several requests
whose run has failed, request by request, so that a bad one fails nobody else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from exeunt.deciding.ticket import Ticket
from exeunt.engine.engine_host import EngineHost
from exeunt.engine.plan import RunCosts
from exeunt.engine.segments import Segments
from exeunt.errors import ExeuntError, ServingError
from exeunt.manifest import Manifest
from exeunt.row_times import times_by_rows

HAND_OVER_US = 500.0  # what it costs to answer by another thread: it wakes up, and sends the answer

log = logging.getLogger(__name__)


class WholeTickets:
    """Runs tickets in the calling thread.

    Args:
        manifest: the bag.
        costs: of its segments.
        segments: they run.
        workers: that would share a ticket otherwise.
    """

    def __init__(self, manifest: Manifest, costs: RunCosts, segments: Segments, workers: int) -> None:
        self._most_rows = costs.short_rows
        self._segments = segments
        shared_us = times_by_rows(manifest.exits[-1].elapsed_us, manifest.max_batch_size)[1]
        self._workers_save_us = costs.together_us(1) - shared_us if workers > 1 else 0.0

    def is_short(self, ticket: Ticket) -> bool:
        """Whether a ticket is plain, and so short that it is answered soonest by the thread that has it.

        A request that comes alone is not, where workers save more time side by side than handing it over costs.
        """
        if ticket.rows > self._most_rows or ticket.requested_exits[:-1].any():
            return False
        return ticket.rows > 1 or self._workers_save_us < HAND_OVER_US

    def run(self, ticket: Ticket, inputs: Mapping[str, np.ndarray], host: EngineHost) -> None:
        """Run a ticket of which nothing has run; the host gets its full votes, or its failure.

        Args:
            ticket: the controller's.
            inputs: the bag's inputs by name, first axis = the ticket's rows.
            host: of the engine.
        """
        try:
            votes = self._segments.full_votes(inputs)
        except Exception as error:  # an edge, as every run: whatever it dies of must cost its own request only
            self.failed(ticket, inputs, host, error)
            return
        host.arrived(ticket.id, votes)

    def failed(self, ticket: Ticket, inputs: Mapping[str, np.ndarray], host: EngineHost, error: Exception) -> None:
        """A ticket's run failed: so does the ticket; of several requests those fail that fail by themselves, too."""
        if len(ticket.requests) == 1:
            host.failed(ticket.id, as_ours(error))
            return
        parts: dict[tuple[int, int], list[np.ndarray]] = {}
        good_rows: list[np.ndarray] = []
        for request in ticket.requests:
            if not ticket.running[request.row_slice].any():
                continue
            try:
                votes = self._segments.full_votes({name: array[request.row_slice] for name, array in inputs.items()})
            except Exception as own_error:
                host.failed(ticket.id, as_ours(own_error), request.row_indices)
                continue
            good_rows.append(request.row_indices)
            for pair, array in votes.items():
                parts.setdefault(pair, []).append(array)
        if good_rows:
            joined = {pair: np.concatenate(arrays) for pair, arrays in parts.items()}
            host.arrived(ticket.id, joined, np.concatenate(good_rows))


def as_ours(error: Exception) -> ExeuntError:
    """What callers are told of a run's failure; one that nobody expects is logged."""
    if isinstance(error, ExeuntError):
        return error
    log.error("a run met an unexpected error", exc_info=error)
    return ServingError(f"the engine failed: {error!r}")
