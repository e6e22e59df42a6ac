"""The engine in simulated time: the real controller and scheduler, workers that only wait.

For tests of the scheduler's rules and for choosing schedules; a run takes exactly what the profile says, times the
bag's slowdown by the number of runs at a time where that is asked for.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from exeunt.deciding.controller import Controller
from exeunt.deciding.request import Release, Request
from exeunt.deciding.ticket import Ticket
from exeunt.engine.exit_times import slowed
from exeunt.engine.progress import DueExit, Kind, SegmentRun
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
        like_the_engine: runs slow each other down, answered rows are tossed late, and the tuner's jobs are done.
    """

    def __init__(
        self,
        controller: Controller,
        workers: int,
        votes: Callable[[Ticket], Votes],
        sampling: FinishProbability | None = None,
        watch: Callable[[Scheduler, float], None] | None = None,
        fails: Callable[[SegmentRun], bool] = lambda run: False,
        like_the_engine: bool = False,
    ) -> None:
        self.scheduler = Scheduler(controller.manifest, workers)
        self.ran: list[Ran] = []
        self.releases: list[tuple[float, Release]] = []
        self.now_us = 0.0
        self._controller = controller
        self._votes = votes
        self._sampling = sampling
        self._watch = watch
        self._fails = fails
        self._answers: dict[int, Votes] = {}
        self._free = list(range(workers))
        self._events: list[tuple[float, int, Request | None]] = []
        self._count = count()
        self._like_the_engine = like_the_engine
        self._slowdown = controller.manifest.slowdown if like_the_engine else ()
        self._busy: dict[int, tuple[float, SegmentRun]] = {}  # worker -> (end of its run at the present pace, run)
        self._pace = 1.0
        if like_the_engine:
            controller.decisions.changes.set_late_tossing(True)

    def run(self, arrivals: Iterable[tuple[float, Request]]) -> None:
        """Serve requests (time of arrival in microseconds, request) until nothing is left to run."""
        for at_us, request in arrivals:
            self._expect(at_us, request)
        while self._events or self._busy:
            worker = min(self._busy, key=lambda worker: self._busy[worker][0], default=None)
            if worker is not None and not (self._events and self._events[0][0] <= self._busy[worker][0]):
                now_us, run = self._busy.pop(worker)
                heapq.heappush(self._free, worker)
                self._end(run, now_us)
            else:
                now_us, _, request = heapq.heappop(self._events)
                if request is not None:
                    self._controller.offer(request, int(now_us))
                    if request.deadline_us is not None:
                        self._expect(request.deadline_us, None)
            self.releases += [(now_us, release) for release in self._controller.tick(int(now_us))]
            self._admit(now_us)
            self._dispatch(now_us)
            self._keep_pace(now_us)
            self.now_us = now_us

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

    def _expect(self, at_us: float, request: Request | None) -> None:
        heapq.heappush(self._events, (at_us, next(self._count), request))

    def _keep_pace(self, now_us: float) -> None:
        """Runs under way take longer, or less long, from now on."""
        before, self._pace = self._pace, slowed(self._slowdown, len(self._busy) or 1)
        if self._pace != before:
            change = self._pace / before
            self._busy = {w: (now_us + (end_us - now_us) * change, run) for w, (end_us, run) in self._busy.items()}

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
            rest = self._tossed(run)
            worker = heapq.heappop(self._free)
            cost_us = self.scheduler.costs.chain_us(run.member, run.depth, run.end, rest.rows) if rest.pieces else 0.0
            end_us = now_us + self._pace * cost_us
            rows = {
                ticket: tuple(row for piece in run.pieces if piece.progress.ticket.id == ticket for row in _rows(piece))
                for ticket in dict.fromkeys(piece.progress.ticket.id for piece in run.pieces)
            }
            self.ran.append(Ran(worker, now_us, end_us, run.kind, run.member, run.depth, run.end, rows))
            self._busy[worker] = end_us, run

    def _tossed(self, run: SegmentRun) -> SegmentRun:
        """See exeunt.engine.engine.Engine."""
        untossed = [p for p in dict.fromkeys(piece.progress for piece in run.pieces) if p.ticket.waits_for_toss.any()]
        if not untossed:
            return run
        for progress in untossed:
            self._controller.toss_answered(progress.ticket.id, self._load_q)
        return self.scheduler.tossed(run, untossed)

    @property
    def _load_q(self) -> float:
        """Probability that the load allows."""
        return 1.0 if self._sampling is None else self._sampling.q

    def _decide(self, due: DueExit, now_us: float) -> None:
        ticket = due.progress.ticket
        rows = np.flatnonzero(ticket.running)
        if len(rows):
            depths = self._controller.manifest.exits[due.exit_].depths
            value = self._answers[ticket.id]
            votes = {(m, d): value[m, d][rows] for m, d in enumerate(depths) if d}
            voting_rows = None if len(rows) == ticket.rows else rows
            released = self._controller.arrived(ticket.id, votes, int(now_us), voting_rows)
            self.releases += [(now_us, item) for item in released]
        if self._like_the_engine:
            if self._load_q < 1.0:
                self._controller.toss_answered(ticket.id, self._load_q)
            probability = self._controller.decisions.coins.probability(self._load_q)
            self.scheduler.finish_probability, self.scheduler.saves_work = probability, probability < self._load_q
        self.scheduler.decided(due.progress, due.exit_)
        if self._sampling is not None and self._sampling.update(self.scheduler.backlog, int(now_us)):
            self._controller.decisions.changes.set_finish_probability(self._sampling.q)
            if not self._like_the_engine:
                self.scheduler.finish_probability = self._sampling.q
        if self._like_the_engine and (job := self._controller.decisions.changes.retune()) is not None:
            self._controller.decisions.changes.adopt(job())


def _rows(piece: object) -> range | list[int]:
    rows = piece.rows  # type: ignore[attr-defined]
    return range(len(piece)) if rows is None else rows.tolist()  # type: ignore[arg-type]
