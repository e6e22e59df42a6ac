"""Which call of NAME_bag is made next. Pure: no threads, no clock; the caller holds one lock around every call.

A ticket's calls are made one after the other. While rows of it are unanswered they are urgent; when all are answered
what is left is feedback. Urgent calls go first, oldest ticket first. Feedback waits until no urgent call is under way,
and then several tickets share one call. One exception keeps early answers possible under lasting overload: while more
answered rows than `urgent_backlog` wait for their full vote, one call of feedback runs beside the urgent ones.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from exeunt.bag_stages import Pair, PlannedCall, first_run
from exeunt.deciding.ticket import Ticket
from exeunt.hosting.calls.cut_rows import CutRows


@dataclass(eq=False, slots=True)
class TicketWork:
    """What is left to do for a ticket.

    Attributes:
        ticket: the controller's.
        inputs: bag input -> [rows of the ticket, ...].
        calls: to make, the next first.
        cuts: what the call before has brought back for the next; None where that begins with the bag's inputs.
        begun: some call was made.
        backlog: answered rows that wait for their full vote, each counted 1 / q, as last looked up.
        lost: a call of it was never answered.
        tap_outputs: for TapOutputs: (member, depth) -> votes or features, [rows of the ticket, ...], NaN where a row
            did not run.
    """

    ticket: Ticket
    inputs: Mapping[str, np.ndarray]
    calls: list[PlannedCall]
    cuts: CutRows | None = None
    begun: bool = False
    backlog: float = 0.0
    lost: bool = False
    tap_outputs: dict[Pair, np.ndarray] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class StageCall:
    """One call to make: of one ticket, or feedback of several that need the same."""

    works: list[TicketWork]
    planned: PlannedCall
    feedback: bool


@dataclass(slots=True)
class StageQueue:
    """Calls that wait, and how many of which kind are under way.

    Args:
        most_rows: of one call.
        urgent_backlog: backlog (rows, each counted 1 / q) from which on feedback runs beside urgent calls.

    Attributes:
        backlog: answered rows in the queue and under way, each counted 1 / q.
        urgent_running, feedback_running: calls under way.
    """

    most_rows: int
    urgent_backlog: float
    backlog: float = 0.0
    urgent_running: int = 0
    feedback_running: int = 0
    _urgent: list[tuple[int, TicketWork]] = field(default_factory=list)  # a heap, by ticket
    _feedback: deque[TicketWork] = field(default_factory=deque)

    @property
    def places(self) -> int:
        """Tickets that take a place: urgent ones, and one for feedback under way."""
        return len(self._urgent) + self.urgent_running + self.feedback_running

    @property
    def urgent_waits(self) -> bool:
        """Somebody unanswered waits for a call to be made."""
        return bool(self._urgent)

    @property
    def feedback_tickets(self) -> int:
        """Tickets whose feedback waits."""
        return len(self._feedback)

    def add(self, work: TicketWork) -> None:
        """A ticket's next call is due."""
        self._forget(work)
        if work.ticket.open_rows:
            heapq.heappush(self._urgent, (work.ticket.id, work))
            return
        work.backlog = float((1.0 / work.ticket.q[work.ticket.finishes]).sum())
        self.backlog += work.backlog
        self._feedback.append(work)

    def next(self) -> StageCall | None:
        """The call to make now; None where nothing waits, or what waits had better wait on."""
        overdue = bool(self._feedback) and self.backlog > self.urgent_backlog and not self.feedback_running
        if self._urgent and not overdue:
            self.urgent_running += 1
            work = heapq.heappop(self._urgent)[1]
            return StageCall([work], work.calls.pop(0), feedback=False)
        if overdue or (self._feedback and not self.urgent_running and not self.feedback_running):
            self.feedback_running += 1
            works = self._together()
            planned, count = first_run(works[0].calls)
            for work in works:
                del work.calls[:count]
            return StageCall(works, planned, feedback=True)
        return None

    def ended(self, call: StageCall) -> None:
        """A call has ended, well or not."""
        if call.feedback:
            self.feedback_running -= 1
        else:
            self.urgent_running -= 1
        for work in call.works:
            self._forget(work)

    def _forget(self, work: TicketWork) -> None:
        """A ticket counts in the backlog no more."""
        self.backlog = max(0.0, self.backlog - work.backlog)
        work.backlog = 0.0

    def _together(self) -> list[TicketWork]:
        """The oldest feedback, with what may share its call: the same calls left, inputs of the same shape."""
        first = self._feedback.popleft()
        works, rows, others = [first], _running(first), deque[TicketWork]()
        while self._feedback:
            work = self._feedback.popleft()
            if work.calls == first.calls and _dims(work) == _dims(first) and rows + _running(work) <= self.most_rows:
                works.append(work)
                rows += _running(work)
            else:
                others.append(work)
        self._feedback = others
        return works


def _running(work: TicketWork) -> int:
    return int(work.ticket.running.sum())


def _dims(work: TicketWork) -> list[tuple[int, ...]]:
    arrays = [*work.inputs.values(), *(work.cuts.arrays.values() if work.cuts else ())]
    return [array.shape[1:] for array in arrays]
