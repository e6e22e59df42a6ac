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
from exeunt.records.decided import DecidedRows, Event
from exeunt.records.feedback import NEVER_SEEN, Feedback
from exeunt.records.record import Record
from exeunt.settings import Settings


@dataclass(frozen=True, slots=True)
class VoteStream:
    """Rows to be answered again.

    Attributes:
        name: for tables.
        decided: the rows; of what was decided before only the coins count (`q`, `finishes`). The votes of a ticket come
            together.
        certain: int32 [rows], first exit at which the lossless stop holds; the last where it never does before.
        events: what happened beside completed exits.
        recorded: exits not seen were not offered, and no shadow coins are tossed.
        settings: of the server that recorded it; None of a made stream.
    """

    name: str
    decided: DecidedRows
    certain: np.ndarray
    events: tuple[Event, ...] = ()
    recorded: bool = False
    settings: Settings | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.decided)

    @property
    def rows(self) -> Feedback:
        """The votes and options."""
        return self.decided.rows

    @property
    def exits(self) -> int:
        """Number of exits, the full ensemble included."""
        return self.rows.exits

    @property
    def wrong(self) -> np.ndarray:
        """True where an exit's label is not the full vote's; bool [rows, exits]."""
        return np.asarray(self.rows.labels != self.rows.full[:, None])

    @property
    def finished(self) -> np.ndarray:
        """Rows whose full vote is known; bool [rows]."""
        return np.asarray(self.rows.order[:, -1] != NEVER_SEEN)

    @property
    def offered(self) -> np.ndarray:
        """Exits whose votes came for the row or others of its ticket; bool [rows, exits]."""
        tickets, which = np.unique(self.decided.ticket, return_inverse=True)
        ticket_exits = np.zeros((len(tickets), self.exits), dtype=bool)
        np.logical_or.at(ticket_exits, which, self.rows.order != NEVER_SEEN)
        return ticket_exits[which]

    def recorded_under(self, settings: Settings) -> bool:
        """Whether these settings are the record's as far as the tuner and its promise go."""
        if self.settings is None:
            return False
        ours, theirs = (
            (either.tuner, either.tuner_options, either.max_loss, either.service_classes)
            for either in (self.settings, settings)
        )
        return ours == theirs

    def part(self, rows: np.ndarray | slice) -> VoteStream:
        """Some rows of a stream (mask, indices or slice), whole tickets."""
        return dataclasses.replace(self, decided=self.decided.part(rows), certain=self.certain[rows])


def recorded_stream(record: Record, name: str) -> VoteStream:
    """The stream of a record.

    A lossless stop is known where it answered; a row that had left before counts as never certain.
    """
    rows = record.decided.rows
    certain = np.where(rows.reason == Reason.LOSSLESS, rows.exit, np.int32(rows.exits - 1))
    return VoteStream(name, record.decided, certain, record.events, recorded=True, settings=record.about.settings)


def stream_of(name: str, rows: Feedback, certain: np.ndarray) -> VoteStream:
    """Finished rows as a stream; those with the same last moment share a ticket."""
    return VoteStream(name, DecidedRows.of(rows), certain.astype(np.int32))


class CompletedExit(NamedTuple):
    """The vote of one ticket at one exit is complete."""

    moment: int
    ticket: int
    exit: int


def tickets_of(stream: VoteStream) -> dict[int, np.ndarray]:
    """Row numbers (int64) by ticket, in the order of the tickets' first rows."""
    numbers = stream.decided.ticket
    by_ticket = np.argsort(numbers, kind="stable")
    parts = np.split(by_ticket, np.flatnonzero(np.diff(numbers[by_ticket])) + 1) if len(stream) else []
    return {int(numbers[rows[0]]): rows for rows in sorted(parts, key=lambda rows: int(rows[0]))}


def completed_exits(stream: VoteStream) -> list[CompletedExit]:
    """Every vote of every ticket, in order."""
    completed = []
    for ticket, rows in tickets_of(stream).items():
        moments = stream.rows.order[rows].max(axis=0)  # rows that did not run any more have none
        completed += [CompletedExit(m, ticket, exit_) for exit_, m in enumerate(moments.tolist()) if m != NEVER_SEEN]
    return sorted(completed)
