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
        rows: the votes and options; what was answered before is ignored, but for the coins (`q`).
        certain: int32 [rows], first exit at which the lossless stop holds; the last where it never does before.
        ticket: int64 [rows], number of the row's ticket; its votes come together.
        finishes: bool [rows], outcome of the row's coin.
        non_finite: bool [rows, exits], see DecidedRows.
        heads_version: int64 [rows], see DecidedRows.
        events: what happened beside completed exits.
        recorded: exits not seen were not offered, and no shadow coins are tossed.
        settings: of the server that recorded it; None of a made stream.
    """

    name: str
    rows: Feedback
    certain: np.ndarray
    ticket: np.ndarray
    finishes: np.ndarray
    non_finite: np.ndarray
    heads_version: np.ndarray
    events: tuple[Event, ...] = ()
    recorded: bool = False
    settings: Settings | None = None

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

    @property
    def finished(self) -> np.ndarray:
        """Rows whose full vote is known; bool [rows]."""
        return np.asarray(self.rows.order[:, -1] != NEVER_SEEN)

    @property
    def offered(self) -> np.ndarray:
        """Exits whose votes came for the row or others of its ticket; bool [rows, exits]."""
        tickets, which = np.unique(self.ticket, return_inverse=True)
        seen = np.zeros((len(tickets), self.exits), dtype=bool)
        np.logical_or.at(seen, which, self.rows.order != NEVER_SEEN)
        return seen[which]

    def recorded_under(self, settings: Settings) -> bool:
        """Whether these settings are the record's as far as the tuner and its promise go."""
        if self.settings is None:
            return False
        ours, theirs = (
            (chosen.tuner, chosen.tuner_options, chosen.max_loss, chosen.service_classes)
            for chosen in (self.settings, settings)
        )
        return ours == theirs

    def part(self, chosen: np.ndarray | slice) -> VoteStream:
        """Some rows of a stream (mask, indices or slice), whole tickets."""
        return dataclasses.replace(
            self,
            rows=self.rows.rows(chosen),
            certain=self.certain[chosen],
            ticket=self.ticket[chosen],
            finishes=self.finishes[chosen],
            non_finite=self.non_finite[chosen],
            heads_version=self.heads_version[chosen],
        )


def recorded_stream(record: Record, name: str) -> VoteStream:
    """The stream of a record.

    A lossless stop is known where it answered; a row that had left before counts as never certain.
    """
    decided = record.decided
    rows = decided.rows
    certain = np.where(rows.reason == Reason.LOSSLESS, rows.exit, np.int32(rows.exits - 1))
    return VoteStream(
        name=name,
        rows=rows,
        certain=certain,
        ticket=decided.ticket,
        finishes=decided.finishes,
        non_finite=decided.non_finite,
        heads_version=decided.heads_version,
        events=record.events,
        recorded=True,
        settings=record.about.settings,
    )


def stream_of(name: str, rows: Feedback, certain: np.ndarray) -> VoteStream:
    """Finished rows as a stream; those with the same last moment share a ticket."""
    decided = DecidedRows.of(rows)
    return VoteStream(
        name,
        rows,
        certain.astype(np.int32),
        decided.ticket,
        decided.finishes,
        decided.non_finite,
        decided.heads_version,
    )


class CompletedExit(NamedTuple):
    """The vote of one ticket at one exit is complete."""

    moment: int
    ticket: int
    exit: int


def tickets_of(stream: VoteStream) -> dict[int, np.ndarray]:
    """Row numbers (int64) by ticket, in the order of the tickets' first rows."""
    by_ticket = np.argsort(stream.ticket, kind="stable")
    parts = np.split(by_ticket, np.flatnonzero(np.diff(stream.ticket[by_ticket])) + 1) if len(stream) else []
    return {int(stream.ticket[rows[0]]): rows for rows in sorted(parts, key=lambda rows: int(rows[0]))}


def completed_exits(stream: VoteStream) -> list[CompletedExit]:
    """Every vote of every ticket, in order."""
    completed = []
    for ticket, rows in tickets_of(stream).items():
        moments = stream.rows.order[rows].max(axis=0)  # rows that did not run any more have none
        completed += [CompletedExit(m, ticket, exit_) for exit_, m in enumerate(moments.tolist()) if m != NEVER_SEEN]
    return sorted(completed)
