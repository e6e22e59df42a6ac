"""The engine in simulated time: the real controller and scheduler, workers that only wait.

For tests of the scheduler's rules and for choosing schedules; a run takes exactly what the profile says.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from exeunt.deciding.controller import Controller
from exeunt.deciding.request import Release, Request
from exeunt.deciding.ticket import Ticket
from exeunt.engine.progress import CompletedExit, Kind, SegmentRun
from exeunt.engine.sampling import FinishProbability
from exeunt.engine.scheduler import Scheduler
from exeunt.errors import ServingError

Votes = dict[tuple[int, int], np.ndarray]  # (member, depth) -> float32 [rows of the ticket, classes]


@dataclass(frozen=True, slots=True)
class Ran:
    """One run as it happened.

    Attributes:
        worker: which worker ran it.
        start_us: from.
        end_us: to.
        kind: class of work.
        member: index of the member.
        depth: where the segment started.
        end: depth after it.
        rows: ticket's id -> indices of the rows that were in it.
    """

    worker: int
    start_us: float
    end_us: float
    kind: Kind
    member: int
    depth: int
    end: int
    rows: dict[int, tuple[int, ...]]


class Simulation:
    """Workers that share one scheduler.

    Args:
        controller: decides; its manifest's costs say how long runs take.
        workers: runs at a time.
        votes: what the members say of a ticket.
        sampling: lowers q under load; None = full feedback.
        watch: called before every hand-out with the scheduler and the time.
        fails: whether a run fails; its pieces then run one by one, and a piece that fails alone fails its ticket.
    """

    def __init__(
        self,
        controller: Controller,
        workers: int,
        votes: Callable[[Ticket], Votes],
        sampling: FinishProbability | None = None,
        watch: Callable[[Scheduler, float], None] | None = None,
        fails: Callable[[SegmentRun], bool] = lambda run: False,
    ) -> None:
        self.scheduler = Scheduler(controller.manifest, workers)
        self.ran: list[Ran] = []
        self.releases: list[tuple[float, Release]] = []
        self._controller = controller
        self._votes = votes
        self._sampling = sampling
        self._watch = watch
        self._fails = fails
        self._answers: dict[int, Votes] = {}
        self._free = list(range(workers))
        self._events: list[tuple[float, int, Request | tuple[int, SegmentRun] | None]] = []
        self._count = 0

    def run(self, arrivals: Iterable[tuple[float, Request]]) -> None:
        """Serve requests (time of arrival in microseconds, request) until nothing is left to run."""
        for at_us, request in arrivals:
            self._expect(at_us, request)
        while self._events:
            now_us, _, event = heapq.heappop(self._events)
            if isinstance(event, Request):
                self._controller.offer(event, int(now_us))
                if event.deadline_us is not None:
                    self._expect(event.deadline_us, None)
            elif event is not None:
                worker, run = event
                heapq.heappush(self._free, worker)
                self._end(run, now_us)
            self.releases += [(now_us, release) for release in self._controller.tick(int(now_us))]
            self._admit(now_us)
            self._dispatch(now_us)

    def _end(self, run: SegmentRun, now_us: float) -> None:
        if not self._fails(run):
            for due in self.scheduler.done(run):
                self._decide(due, now_us)
        elif len(run.pieces) == 1:
            ticket_id = run.pieces[0].progress.ticket.id
            self.scheduler.drop(ticket_id)
            error = ServingError("a run failed")
            self.releases += [(now_us, release) for release in self._controller.failed(ticket_id, error, int(now_us))]
        else:
            for piece in run.pieces:
                self._end(replace(run, pieces=[piece]), now_us)

    def _expect(self, at_us: float, event: Request | tuple[int, SegmentRun] | None) -> None:
        self._count += 1
        heapq.heappush(self._events, (at_us, self._count, event))

    def _admit(self, now_us: float) -> None:
        while (ticket := self._controller.next_ticket(now_us=int(now_us))) is not None:
            self._answers[ticket.id] = self._votes(ticket)
            self.scheduler.start(ticket, {}, len(self._free))

    def _dispatch(self, now_us: float) -> None:
        while self._free:
            if self._watch is not None:
                self._watch(self.scheduler, now_us)
            run = self.scheduler.next_run(len(self._free) - 1)
            if run is None:
                return
            worker = heapq.heappop(self._free)
            end_us = now_us + self.scheduler.costs.chain_us(run.member, run.depth, run.end, run.rows)
            rows = {
                ticket: tuple(row for piece in run.pieces if piece.progress.ticket.id == ticket for row in _rows(piece))
                for ticket in dict.fromkeys(piece.progress.ticket.id for piece in run.pieces)
            }
            self.ran.append(Ran(worker, now_us, end_us, run.kind, run.member, run.depth, run.end, rows))
            self._expect(end_us, (worker, run))

    def _decide(self, due: CompletedExit, now_us: float) -> None:
        ticket = due.progress.ticket
        rows = np.flatnonzero(ticket.running)
        if len(rows):
            depths = self._controller.manifest.exits[due.exit_].depths
            value = self._answers[ticket.id]
            votes = {(m, d): value[m, d][rows] for m, d in enumerate(depths) if d}
            given = None if len(rows) == ticket.rows else rows
            released = self._controller.arrived(ticket.id, votes, int(now_us), given)
            self.releases += [(now_us, item) for item in released]
        self.scheduler.decided(due)
        if self._sampling is not None and self._sampling.update(self.scheduler.backlog, int(now_us)):
            self._controller.finish_probability = self.scheduler.finish_probability = self._sampling.q


def _rows(piece: object) -> range | list[int]:
    rows = piece.rows  # type: ignore[attr-defined]
    return range(len(piece)) if rows is None else rows.tolist()  # type: ignore[arg-type]
