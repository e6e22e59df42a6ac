"""Releases: which client requests of a ticket are over, and with what."""

from __future__ import annotations

import numpy as np

from exeunt.deciding.counters import Counters
from exeunt.deciding.request import Release, Request
from exeunt.deciding.ticket import Ticket
from exeunt.errors import ExeuntError, OverloadedError


def released(
    ticket: Ticket, counters: Counters, now_us: int, error: ExeuntError | None, failed: np.ndarray | None = None
) -> list[Release]:
    """Releases that are due; each request is released exactly once.

    Args:
        ticket: its requests are marked as released.
        counters: counts them.
        now_us: time of the release.
        error: what requests whose rows failed get; None leaves them waiting.
        failed: bool [rows], rows that failed with `error`; None = all that are open.

    Returns:
        one Release per request all of whose rows are decided, and one with `error` for each that failed.
    """
    due: list[Release] = []
    for number, request in enumerate(ticket.requests):
        if ticket.released[number]:
            continue
        latency_us = now_us - request.arrived_us
        rows = slice(request.first_row, request.first_row + request.rows)
        if failed is not None and failed[rows].any():
            due.append(Release(request.key, latency_us, error=error))
            counters.errors += 1
        elif not ticket.open[rows].any():
            due.append(Release(request.key, latency_us, answer=ticket.answer_of(request)))
            counters.released(latency_us, int(ticket.exit[rows].max()))
        elif error is not None and failed is None:
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
