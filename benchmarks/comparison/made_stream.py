"""A stream of votes that were computed offline."""

from __future__ import annotations

import dataclasses

import numpy as np

from exeunt.records.feedback import Feedback
from exeunt.replay.stream import VoteStream, stream_of

TICKET_ROWS = (1, 2, 4, 8)  # sizes of made tickets, equally likely
LATE_ROWS = 16  # at most so many rows are decided before a row's feedback comes


def made_stream(
    name: str,
    labels: np.ndarray,
    confidence: np.ndarray,
    certain: np.ndarray,
    *,
    late_rows: int = LATE_ROWS,
    seed: int = 0,
) -> VoteStream:
    """A stream of votes computed offline, in tickets of 1 to 8 rows, with late and reordered feedback.

    Args:
        name: for tables.
        labels: int [rows, exits].
        confidence: float [rows, exits].
        certain: int [rows], first exit at which the lossless stop holds, exits - 1 where none.
        late_rows: most rows decided between a row and its feedback; each ticket's own lag is random up to there.
        seed: of ticket sizes and lags.
    """
    rows, exits = labels.shape
    order = _arrivals(rows, exits, late_rows, np.random.default_rng(seed))
    return stream_of(name, dataclasses.replace(Feedback.observed(labels, confidence), order=order), certain)


def _arrivals(rows: int, exits: int, late_rows: int, rng: np.random.Generator) -> np.ndarray:
    """When each row's exits are complete: int64 [rows, exits], every (ticket, exit) a number of its own."""
    sizes = rng.choice(TICKET_ROWS, size=rows)
    sizes = np.minimum(sizes, max(1, late_rows))
    ends = np.cumsum(sizes)
    tickets = int(np.searchsorted(ends, rows)) + 1
    ends = np.minimum(ends[:tickets], rows)
    starts = np.concatenate([[0], ends[:-1]])
    # ticket k finishes after the decisions of some ticket j >= k, no row of which is over late_rows behind k's first
    latest = np.maximum(np.searchsorted(ends, starts + late_rows, side="right") - 1, np.arange(tickets))
    after = np.arange(tickets) + (rng.random(tickets) * (latest - np.arange(tickets) + 1)).astype(np.int64)
    completion_times = np.arange(tickets)[:, None] + np.linspace(0.0, 0.5, exits)[None, :]
    completion_times[:, -1] = after + 0.6 + 0.3 * rng.random(tickets)
    moments = np.empty(tickets * exits, dtype=np.int64)
    moments[np.argsort(completion_times.reshape(-1), kind="stable")] = np.arange(tickets * exits)
    return np.repeat(moments.reshape(tickets, exits), ends - starts, axis=0)
