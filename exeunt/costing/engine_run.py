"""Requests to a bag in engine mode, in simulated time: the engine's order of work with one row a ticket."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from exeunt.costing.path_costs import PathCosts
from exeunt.costing.requests_in_time import Arrivals
from exeunt.costing.simulated_host import LINUX, SimulatedHost
from exeunt.costing.timed_bag import TimedBag
from exeunt.engine.plan import RunOrder
from exeunt.engine.sampling import FinishProbability
from exeunt.engine.scheduler import SPARE_SHARE


@dataclass(eq=False, slots=True)
class _EngineTicket:
    """One row on its way.

    Attributes:
        leaves: place of the exit at which it is answered.
        order: of its work.
        times_us: of its segments, by member.
        depths: segments that have run, by member.
        busy: a worker runs the member.
        due: place of the next exit that is not complete.
        decided: place of the next exit that has not been decided at.
        answered: it has left.
    """

    arrivals: Arrivals
    number: int
    leaves: int
    order: RunOrder
    times_us: list[list[float]]
    depths: list[int] = field(init=False)
    busy: list[bool] = field(init=False)
    due: int = 0
    decided: int = 0
    answered: bool = False

    def __post_init__(self) -> None:
        self.depths = [0] * len(self.times_us)
        self.busy = [False] * len(self.times_us)


class EngineRun:
    """Workers that share one queue, see exeunt.engine.scheduler: unanswered tickets first, the oldest first of all.

    Left out: tickets of several rows, runs that tickets share, and the lean gear.
    """

    def __init__(self, bag: TimedBag, costs: PathCosts, rng: np.random.Generator) -> None:
        self.host = SimulatedHost(bag.cores, bag.mix.slowdown, LINUX, rng)
        self._bag = bag
        self._costs = costs
        self._rng = rng
        self._sampling = FinishProbability.of(bag.settings)
        self._spare_below = SPARE_SHARE * bag.settings.max_unconfirmed_rows
        self._idle = list(range(bag.cores))  # workers; each waits on a core of its own
        self._open: list[_EngineTicket] = []
        self._finishing: list[_EngineTicket] = []

    def begin(self, arrivals: Arrivals, number: int) -> None:
        """A request has arrived."""
        self.host.work(self._costs.arrival_us, partial(self._admit, arrivals, number))

    def _admit(self, arrivals: Arrivals, number: int) -> None:
        (leaves,) = self._bag.places(1, self._rng)
        order = self._bag.orders[not self._open]
        self._open.append(_EngineTicket(arrivals, number, leaves, order, self._bag.pass_us(self._rng)))
        self._dispatch()

    def _dispatch(self) -> None:
        while self._idle and (piece := self._next()) is not None:
            ticket, member = piece
            ticket.busy[member] = True
            worker = self._idle.pop()
            run_us = ticket.times_us[member][ticket.depths[member]]
            self.host.work(run_us, partial(self._ran, ticket, member, worker), worker)

    def _next(self) -> tuple[_EngineTicket, int] | None:
        """The most urgent ready segment."""
        ahead = None
        for ticket in self._open:
            if (first := self._most_urgent(ticket)) is None:
                continue
            needed_at, member = first
            if needed_at == ticket.order.aim(ticket.decided):
                return ticket, member
            if ahead is None and ticket.order.works_ahead:
                ahead = ticket, member
        if ahead is not None:
            return ahead
        if len(self._idle) == 1 and self._bag.cores > 1 and len(self._finishing) < self._spare_below:
            return None
        for ticket in self._finishing:
            if (first := self._most_urgent(ticket)) is not None:
                return ticket, first[1]
        return None

    def _most_urgent(self, ticket: _EngineTicket) -> tuple[int, int] | None:
        """(place of the exit that first needs it, member) of a ticket's most urgent ready segment."""
        ready = [
            (*ticket.order.urgency(member, depth, ticket.decided), member)
            for member, (depth, busy) in enumerate(zip(ticket.depths, ticket.busy, strict=True))
            if not busy and depth < len(ticket.times_us[member])
        ]
        if not ready:
            return None
        needed_at, _, member = min(ready)
        return needed_at, member

    def _ran(self, ticket: _EngineTicket, member: int, worker: int) -> None:
        ticket.depths[member] += 1
        ticket.busy[member] = False
        before = ticket.due
        while ticket.due < len(self._bag.depths) and self._bag.reached(ticket.depths, ticket.due):
            ticket.due += 1
        if ticket.due > before:
            heads_us = sum(self._bag.head_us[before : ticket.due])
            decide_us = self._costs.decide_us + heads_us
            self.host.work(decide_us, partial(self._decide, ticket, ticket.due, worker), worker)
        else:
            self._idle.append(worker)
        self._dispatch()

    def _decide(self, ticket: _EngineTicket, decided: int, worker: int) -> None:
        """A worker has passed the votes of the exits up to here on."""
        self._idle.append(worker)
        ticket.decided = max(ticket.decided, decided)
        full = ticket.decided == len(self._bag.exits)
        if ticket.answered:
            if full and ticket in self._finishing:
                self._finishing.remove(ticket)
        elif full or ticket.decided > ticket.leaves:
            ticket.answered = True
            self._open.remove(ticket)
            self.host.work(self._costs.reply_us, partial(ticket.arrivals.answered, ticket.number, self.host))
            if not full and self._rng.random() < self._bag.mix.feedback * self._sampling.q:
                self._finishing.append(ticket)
        self._sampling.update(len(self._finishing), int(self.host.now_us))
        self._dispatch()
