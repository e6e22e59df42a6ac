"""DecidedRows: everything that happened to the rows of a ticket that is over. Records store it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from exeunt.records.feedback import NEVER_SEEN, Feedback

Event = tuple[int, str, Any]
"""(moment, name, value) of what happened beside completed exits; names and values: exeunt.deciding.decisions."""
TICKET_EVENTS = (
    "expired",
    "failed",
    "given_up",
    "tossed",
)  # their value is a list that begins with the ticket's number


@dataclass(frozen=True, slots=True)
class DecidedRows:
    """Rows of tickets that are over, finished or not, as arrays over [rows] or [rows, exits].

    A *moment* is a number that the decision core gives to everything that happens, in order, from 0 in each run.

    Attributes:
        rows: votes, answer and options. A row that got no answer has exit and answer -1; one whose full vote never came
            has NEVER_SEEN in the last column of `labels` and `order`.
        ticket: int64 [rows], number of the ticket.
        decided: int64 [rows], moment of the decision, or when the row was given up without an answer.
        ended: int64 [rows], moment from which no full vote of the row was awaited any more.
        finishes: bool [rows], False where a coin said that the row need not run to the end.
        non_finite: bool [rows, exits], True where the input or a member's output up to this vote was not finite.
        risk: float32 [rows], estimated probability of a loss at the decision; 0 for full and lossless.
        taught: bool [rows], True where the full vote came and the tuner learnt from it: the feedback.
        heads_version: int64 [rows], of the ramps' heads that the ticket was admitted with; 0 = as exported.
    """

    rows: Feedback
    ticket: np.ndarray
    decided: np.ndarray
    ended: np.ndarray
    finishes: np.ndarray
    non_finite: np.ndarray
    risk: np.ndarray
    taught: np.ndarray
    heads_version: np.ndarray

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.ticket)

    @property
    def feedback(self) -> Feedback:
        """The rows that taught the tuner."""
        return self.rows.rows(self.taught)

    def part(self, rows: np.ndarray | slice) -> DecidedRows:
        """Some rows (mask, indices or slice)."""
        return DecidedRows(self.rows.rows(rows), *(getattr(self, name)[rows] for name in OWN_COLUMNS))

    @classmethod
    def joined(cls, parts: Sequence[DecidedRows]) -> DecidedRows:
        """All rows of `parts`, in order; at least one part."""
        own_columns = (np.concatenate([getattr(part, name) for part in parts]) for name in OWN_COLUMNS)
        return cls(Feedback.joined([part.rows for part in parts]), *own_columns)

    @classmethod
    def of(cls, rows: Feedback) -> DecidedRows:
        """Finished rows of which only the feedback is known; rows with the same last moment share a ticket."""
        last = rows.order[:, -1]
        everybody = np.ones(len(rows), dtype=bool)
        return cls(
            rows=rows,
            ticket=np.unique(last, return_inverse=True)[1].astype(np.int64),
            decided=np.where(rows.exit >= 0, rows.order[np.arange(len(rows)), rows.exit], NEVER_SEEN),
            ended=last.copy(),
            finishes=everybody,
            non_finite=np.zeros(rows.labels.shape, dtype=bool),
            risk=np.zeros(len(rows), dtype=np.float32),
            taught=everybody.copy(),
            heads_version=np.zeros(len(rows), dtype=np.int64),
        )


OWN_COLUMNS = tuple(column.name for column in fields(DecidedRows) if column.name != "rows")
