"""How far a ticket has come: its pieces, their runs, and the votes of the members so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from exeunt.contract import EARLY
from exeunt.deciding.ticket import Ticket
from exeunt.engine.plan import RunOrder, RunPlan


class Kind(IntEnum):
    """Classes of work, most urgent first."""

    CERTAIN = 0  # the exit that a ticket with unanswered rows works towards waits for it
    SPECULATIVE = 1  # only a later exit needs it: in vain if the rows leave before
    FEEDBACK = 2  # all rows are answered
    UNLIKELY = 3  # speculative, and more likely than not in vain


class Piece:
    """Rows of one ticket on their way through one member.

    A ticket starts with one piece per member; a split makes more. Touched by one worker at a time.

    Attributes:
        progress: the ticket's.
        member: index of the member.
        depth: segments that have run.
        rows: indices of the ticket's rows, ascending; None = all.
        tensors: cut tensors that later segments take, first axis = `rows` (before `positions` are applied).
        positions: rows of `tensors` that are still meant; None = all.
        busy: a worker has it.
        stamp: of its entry in the queue that counts.
    """

    __slots__ = ("busy", "depth", "member", "positions", "progress", "rows", "stamp", "tensors")

    def __init__(self, progress: Progress, member: int) -> None:
        self.progress = progress
        self.member = member
        self.depth = 0
        self.rows: np.ndarray | None = None
        self.tensors: dict[str, np.ndarray] = {}
        self.positions: np.ndarray | None = None
        self.busy = False
        self.stamp = 0

    def __len__(self) -> int:
        """Number of rows."""
        return self.progress.ticket.rows if self.rows is None else len(self.rows)

    def compact(self) -> int:
        """Leave out rows that need not run on, if any of the ticket's has to.

        Returns:
            how many rows were left out.
        """
        if len(self) == 1:
            return 0
        running = self.progress.ticket.running
        mask = running if self.rows is None else running[self.rows]
        running_rows = int(np.count_nonzero(mask))
        if running_rows == len(mask):
            return 0
        before = len(mask)
        self._keep(np.flatnonzero(mask) if running_rows else np.zeros(1, dtype=np.intp))  # an empty run is no run
        return before - len(self)

    def split(self, rows: int) -> Piece:
        """Keep the first `rows` rows and hand the others to a new piece, which is returned."""
        other = Piece(self.progress, self.member)
        other.depth, other.tensors = self.depth, self.tensors
        other.rows, other.positions = self.rows, self.positions
        everything = np.arange(len(self))
        other._keep(everything[rows:])
        self._keep(everything[:rows])
        self.progress.pieces[self.member].append(other)
        return other

    def _keep(self, indices: np.ndarray) -> None:
        self.rows = indices if self.rows is None else self.rows[indices]
        self.positions = indices if self.positions is None else self.positions[indices]

    def narrow(self) -> None:
        """Copy the tensors' rows that are still meant; outside any lock, by the worker that has the piece."""
        if self.positions is not None:
            self.tensors = {name: tensor[self.positions] for name, tensor in self.tensors.items()}
            self.positions = None


class Progress:
    """A ticket in the engine.

    Attributes:
        ticket: the controller's; its `open`, `finishes` and `q` change under the controller's lock and are only read.
        inputs: public inputs by name, first axis = the ticket's rows.
        plan: what its requested exits need.
        order: in which it works towards them.
        whole: only the full vote of a few rows of a small bag is requested: a member's segments run as one.
        in_series: its members run one after the other, so that one worker is woken; else side by side.
        number: order of arrival.
        pieces: by member.
        votes: (member, depth) -> list of (rows or None, array): FEATURES, or PROBABILITIES of a finished member.
        due: place in `plan.exits` of the next exit that is not complete.
        decided: place of the next exit that the controller has not heard of.
        open: some row is unanswered, as last looked up.
        open_rows: how many.
        overtaken: a segment of feedback went before it once.
        backlog: answered rows that still run, each counted 1 / q, as last looked up.
        unconfirmed: those of them that left on trust.
        over: finished, failed or dropped.
    """

    def __init__(
        self,
        ticket: Ticket,
        inputs: Mapping[str, np.ndarray],
        plan: RunPlan,
        order: RunOrder,
        members: int,
        whole: bool = False,
        in_series: bool = False,
    ) -> None:
        self.ticket = ticket
        self.inputs = inputs
        self.plan = plan
        self.order = order
        self.number = ticket.id
        self.whole = whole
        self.in_series = in_series
        self.pieces = [[Piece(self, member)] for member in range(members)]
        self.votes: dict[tuple[int, int], list[tuple[np.ndarray | None, np.ndarray]]] = {}
        self.due = 0
        self.decided = 0
        self.open = True
        self.open_rows = ticket.rows
        self.overtaken = False
        self.backlog = 0.0
        self.unconfirmed = 0.0
        self.over = False

    def kind(self, piece: Piece) -> Kind:
        """Class of the piece's next segment, without a guess whether speculation pays."""
        if not self.open:
            return Kind.FEEDBACK
        needed_at, _ = self.order.urgency(piece.member, piece.depth, self.decided)
        return Kind.CERTAIN if needed_at == self.order.aim(self.decided) else Kind.SPECULATIVE

    def runs(self) -> bool:
        """Whether any row still has to run."""
        ticket = self.ticket
        if ticket.rows == 1:  # what most tickets have: indexing is ten times faster than a reduction
            return bool(ticket.open[0] or ticket.finishes[0])
        return bool(ticket.running.any())

    def waits(self) -> bool:
        """Whether any row is unanswered."""
        return self.ticket.open_rows > 0

    def look(self) -> None:
        """Look up anew which rows are answered and which of those run on."""
        ticket = self.ticket
        self.open_rows = ticket.open_rows
        self.open = self.open_rows > 0
        self.backlog = self.unconfirmed = 0.0
        if self.open_rows == ticket.rows:
            return
        if ticket.rows == 1:
            if ticket.finishes[0]:
                self.backlog = 1.0 / float(ticket.q[0])
                self.unconfirmed = self.backlog if ticket.reason[0] == EARLY else 0.0
            return
        waits = ticket.finishes & ~ticket.open
        weights = 1.0 / ticket.q[waits]
        self.backlog = float(weights.sum())
        self.unconfirmed = float(weights[ticket.reason[waits] == EARLY].sum())

    def complete(self) -> list[int]:
        """Exits that have become complete since the last call, in order."""
        exits: list[int] = []
        while self.due < len(self.plan.exits) and self._reached(self.plan.depths[self.due]):
            exits.append(self.plan.exits[self.due])
            self.due += 1
        return exits

    def _reached(self, depths: tuple[int, ...]) -> bool:
        for pieces, depth in zip(self.pieces, depths, strict=True):
            for piece in pieces:
                if piece.depth < depth:
                    return False
        return True

    def votes_of(self, member: int, depth: int, rows: np.ndarray | None) -> np.ndarray:
        """What the member says at a depth of `rows` (indices; None = all); float32 [rows, any]."""
        parts = self.votes[member, depth]
        if len(parts) == 1 and parts[0][0] is None:
            return parts[0][1] if rows is None else parts[0][1][rows]
        whole = np.zeros((self.ticket.rows, *parts[0][1].shape[1:]), dtype=parts[0][1].dtype)
        for part_rows, array in parts:
            whole[slice(None) if part_rows is None else part_rows] = array
        return whole if rows is None else whole[rows]


@dataclass(slots=True)
class SegmentRun:
    """One run of a segment: what a worker does without looking up.

    Attributes:
        member: index of the member.
        depth: where the segment starts.
        kind: class of work when it was handed out.
        pieces: whose rows it takes, concatenated in this order.
        end: depth after the run: the segment's, or the member's where nothing in between is asked for.
    """

    member: int
    depth: int
    kind: Kind
    pieces: list[Piece]
    end: int

    @property
    def rows(self) -> int:
        """Rows of all pieces."""
        return sum(len(piece) for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class DueExit:
    """An exit of a ticket for which every segment has run: heads and vote are due."""

    progress: Progress
    exit_: int
