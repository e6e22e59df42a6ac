"""Requests to a bag in ensemble mode, in simulated time: calls of NAME_bag, stage by stage, a process per segment."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from exeunt.costing.path_costs import PathCosts
from exeunt.costing.requests_in_time import Arrivals
from exeunt.costing.simulated_host import LINUX, ServedModel, SimulatedHost
from exeunt.costing.timed_bag import TimedBag
from exeunt.engine.sampling import FinishProbability


@dataclass(eq=False, slots=True)
class _StagedTicket:
    """One row on its way.

    Attributes:
        leaves: place of the exit at which it is answered.
        stage: that runs next.
    """

    arrivals: Arrivals
    number: int
    leaves: int
    stage: int = 0
    answered: bool = False


class EnsembleRun:
    """Urgent calls at once, feedback of many in one call while none of them runs; see hosting.calls.stage_queue.

    Left out: tickets of several requests, and feedback beside urgent calls once hundreds of rows wait for it.
    """

    def __init__(self, bag: TimedBag, costs: PathCosts, rng: np.random.Generator) -> None:
        self.host = SimulatedHost(bag.cores, bag.mix.slowdown, LINUX, rng)
        self._bag = bag
        self._costs = costs
        self._sampling = FinishProbability.of(bag.settings)
        self._rng = rng
        self._models = [
            [
                ServedModel(self.host, bag.most_rows, partial(self._run_us, member, depth))
                for depth in range(bag.member_depths[member])
            ]
            for member in range(len(bag.passes_us))
        ]
        self._waiting: deque[_StagedTicket] = deque()
        self._feedback: deque[_StagedTicket] = deque()
        self._urgent_calls = self._feedback_calls = 0

    def begin(self, arrivals: Arrivals, number: int) -> None:
        """A request has arrived."""
        self.host.work(self._costs.arrival_us, partial(self._admit, arrivals, number))

    def _admit(self, arrivals: Arrivals, number: int) -> None:
        (leaves,) = self._bag.places(1, self._rng)
        self._waiting.append(_StagedTicket(arrivals, number, leaves))
        self._next()

    def _next(self) -> None:
        while self._waiting and self._urgent_calls + self._feedback_calls < self._bag.settings.max_tickets:
            self._urgent_calls += 1
            ticket = self._waiting.popleft()
            self._call([ticket], ticket.stage, ticket.stage + 1, partial(self._urgent_ended, ticket))
        if self._feedback and not self._urgent_calls and not self._feedback_calls:
            self._feedback_calls += 1
            stage = self._feedback[0].stage
            tickets = [ticket for ticket in self._feedback if ticket.stage == stage][: self._bag.most_rows]
            for ticket in tickets:
                self._feedback.remove(ticket)
            share = self._bag.mix.feedback * self._sampling.q
            tickets = [ticket for ticket in tickets if self._rng.random() < share]
            if tickets:
                self._call(tickets, stage, len(self._bag.stages), self._feedback_ended)
            else:
                self._feedback_ended()

    def _urgent_ended(self, ticket: _StagedTicket) -> None:
        self._urgent_calls -= 1
        ticket.stage += 1
        if not ticket.answered:
            self._waiting.appendleft(ticket)
        elif ticket.stage < len(self._bag.stages):
            self._feedback.append(ticket)
        self._ended()

    def _feedback_ended(self) -> None:
        self._feedback_calls -= 1
        self._ended()

    def _ended(self) -> None:
        self._sampling.update(len(self._feedback), int(self.host.now_us))
        self._next()

    def _call(self, tickets: Sequence[_StagedTicket], stage: int, end: int, then: Callable[[], None]) -> None:
        """One call of NAME_bag for the stages from `stage` to before `end`."""
        ends = self._bag.stages
        begun = self._bag.depths[ends[stage - 1]] if stage else (0,) * len(self._models)
        call = _RunningCall(
            depths=list(begun),
            taps=list(range(ends[stage - 1] + 1 if stage else 0, ends[end - 1] + 1)),
            then=then,
        )
        deepest = self._bag.depths[ends[end - 1]]
        self.host.work(self._costs.hop_us, partial(self._go_on, tickets, call, deepest, range(len(self._models))))

    def _go_on(
        self, tickets: Sequence[_StagedTicket], call: _RunningCall, deepest: Sequence[int], members: Sequence[int]
    ) -> None:
        for member in members:
            if call.depths[member] < deepest[member]:
                model = self._models[member][call.depths[member]]
                model.infer(len(tickets), partial(self._ran, tickets, call, deepest, member))

    def _ran(self, tickets: Sequence[_StagedTicket], call: _RunningCall, deepest: Sequence[int], member: int) -> None:
        call.depths[member] += 1
        while call.taps and self._bag.reached(call.depths, call.taps[0]):
            tap = call.taps.pop(0)
            call.under_way += 1
            heads_us = self._costs.hop_us + self._bag.head_us[tap] if self._bag.head_us[tap] else 0.0
            tap_us = heads_us + self._costs.hop_us + self._costs.decide_us
            self.host.work(tap_us, partial(self._tapped, tickets, call, tap))
        self._go_on(tickets, call, deepest, [member])

    def _tapped(self, tickets: Sequence[_StagedTicket], call: _RunningCall, tap: int) -> None:
        for ticket in tickets:
            if not ticket.answered and tap >= ticket.leaves:
                ticket.answered = True
                self.host.work(self._costs.reply_us, partial(ticket.arrivals.answered, ticket.number, self.host))
        call.under_way -= 1
        if not call.under_way and not call.taps:
            call.then()

    def _run_us(self, member: int, depth: int, rows: int) -> float:
        passes_us = self._bag.passes_us[member]
        us = float(passes_us[self._rng.integers(len(passes_us)), depth])
        return self._costs.hop_us + us * self._bag.row_factors[member][rows]


@dataclass(eq=False, slots=True)
class _RunningCall:
    """One call of NAME_bag.

    Attributes:
        depths: segments that have run, by member.
        taps: places of the exits whose votes have not come yet, ascending.
        then: what follows its end.
        under_way: taps whose votes are on their way.
    """

    depths: list[int]
    taps: list[int]
    then: Callable[[], None]
    under_way: int = 0
