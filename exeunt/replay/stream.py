"""Streams: rows with the votes of every exit and the order in which those votes were complete. What replay replays.

A stream comes from a record (then it holds only the exits that were offered, in the order in which they really came),
or from votes computed offline (then every exit is known and the order is made here).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from exeunt.contract import Reason
from exeunt.records.feedback import NEVER_SEEN, Feedback
from exeunt.records.record import Record

TICKET_ROWS = (1, 2, 4, 8)  # sizes of made tickets, equally likely
LATE_ROWS = 16  # at most so many rows are decided before a row's feedback comes


@dataclass(frozen=True, slots=True)
class VoteStream:
    """Rows to be answered again.

    Attributes:
        name: for tables.
        rows: the votes and options; what was answered before is ignored, except by `recorded` streams' own tuner.
        certain: int32 [rows], first exit at which the lossless stop holds; the last where it never does before.
        forced: int32 [rows], exit whose vote a deadline or fault forced out, -1 where none did.
        recorded: exits not seen were not offered, and no shadow coins are tossed.
        retunes: int64 [jobs, 2], when a tuner's job was taken and adopted, counted like Feedback.order; None where the
            replay chooses.
    """

    name: str
    rows: Feedback
    certain: np.ndarray
    forced: np.ndarray
    recorded: bool = False
    retunes: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    @property
    def exits(self) -> int:
        """Number of exits, the full ensemble included."""
        return self.rows.exits

    @property
    def wrong(self) -> np.ndarray:
        """True where an exit's label is not the full vote's; bool [rows, exits]."""
        return np.asarray(self.rows.labels != self.rows.full[:, None])


def recorded_stream(record: Record, name: str) -> VoteStream:
    """The stream of a record.

    A lossless stop is known where it answered; a row that had left before counts as never certain.
    """
    rows = record.feedback
    lossless = rows.reason == Reason.LOSSLESS
    forced = rows.reason > Reason.LOSSLESS
    last = np.int32(rows.exits - 1)
    return VoteStream(
        name=name,
        rows=rows,
        certain=np.where(lossless, rows.exit, last),
        forced=np.where(forced, rows.exit, np.int32(-1)),
        recorded=True,
        retunes=record.retunes,
    )


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
    told = dataclasses.replace(Feedback.observed(labels, confidence), order=order)
    return VoteStream(name, told, certain.astype(np.int32), np.full(rows, -1, dtype=np.int32))


def part_of(stream: VoteStream, rows: slice) -> VoteStream:
    """Consecutive rows of a stream; cut where tickets end."""
    return dataclasses.replace(
        stream, rows=stream.rows.rows(rows), certain=stream.certain[rows], forced=stream.forced[rows]
    )


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
    when = np.arange(tickets)[:, None] + np.linspace(0.0, 0.5, exits)[None, :]
    when[:, -1] = after + 0.6 + 0.3 * rng.random(tickets)
    moments = np.empty(tickets * exits, dtype=np.int64)
    moments[np.argsort(when.reshape(-1), kind="stable")] = np.arange(tickets * exits)
    return np.repeat(moments.reshape(tickets, exits), ends - starts, axis=0)


class Event(NamedTuple):
    """The vote of one ticket at one exit is complete."""

    moment: int
    ticket: int
    exit: int


def tickets_of(stream: VoteStream) -> list[np.ndarray]:
    """Row numbers of each ticket, int64 arrays, in the order of the tickets' last exits."""
    last = stream.rows.order[:, -1]
    by_ticket = np.argsort(last, kind="stable")
    return np.split(by_ticket, np.flatnonzero(np.diff(last[by_ticket])) + 1) if len(last) else []


def events_of(stream: VoteStream) -> list[Event]:
    """Everything that happens in a stream, in order; tickets are numbered as in `tickets_of`."""
    events = []
    for number, rows in enumerate(tickets_of(stream)):
        for exit_, moment in enumerate(stream.rows.order[rows[0]].tolist()):
            if moment != NEVER_SEEN:
                events.append(Event(moment, number, exit_))
    return sorted(events)
