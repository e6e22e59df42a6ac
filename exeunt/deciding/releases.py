"""Releases: which client requests of a ticket are over, and with what."""

from __future__ import annotations

from exeunt.deciding.counters import Counters
from exeunt.deciding.request import Release, Request
from exeunt.deciding.ticket import Ticket
from exeunt.errors import ExeuntError, OverloadedError


def released(ticket: Ticket, counters: Counters, now_us: int, error: ExeuntError | None) -> list[Release]:
    """Releases that are due; each request is released exactly once.

    Args:
        ticket: its requests are marked as released.
        counters: counts them.
        now_us: time of the release.
        error: what requests with open rows get; None leaves them waiting.

    Returns:
        one Release per request all of whose rows are decided, and with `error` one for every other request.
    """
    due: list[Release] = []
    for number, request in enumerate(ticket.requests):
        if ticket.released[number]:
            continue
        latency_us = now_us - request.arrived_us
        rows = slice(request.first_row, request.first_row + request.rows)
        if not ticket.open[rows].any():
            due.append(Release(request.key, latency_us, answer=ticket.answer_of(request)))
            counters.released(latency_us, int(ticket.exit[rows].max()))
        elif error is not None:
            due.append(Release(request.key, latency_us, error=error))
            counters.errors += 1
        else:
            continue
        ticket.released[number] = True
    return due


def too_late(request: Request, now_us: int) -> Release:
    """The release of a request whose deadline passed before any vote."""
    latency_us = now_us - request.arrived_us
    error = OverloadedError(f"deadline_ms passed after {latency_us / 1000:.1f} ms, before any vote had arrived")
    return Release(request.key, latency_us, error=error)
