"""What the scheduler looks up: the cost of every run, and which order of a ticket's segments is the fastest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from exeunt.deciding.ticket import Ticket
from exeunt.engine.exit_times import exit_times, slowed, urgency
from exeunt.manifest import Manifest
from exeunt.row_times import times_by_rows

MEMORY = 1 / 32  # weight of the newest ticket in the shares of rows that leave
SHORT_US = 3000.0  # longest plain ticket, all members on one worker, that is not worth taking apart
CLOSE = 0.02  # expected times that differ by less are as good as equal
UNPROFILED_ROW_US = 1000.0  # where the manifest holds no measurement


class RunCosts:
    """Time of one run of a segment by number of rows, from the manifest's profile.

    Between two profiled batch sizes the time is interpolated; beyond the largest it grows with the rows.

    Attributes:
        short_rows: most rows of a plain ticket that is short; 0 = none is.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.most_rows = manifest.max_batch_size
        self._us = [[_by_rows(segment.cost_us, self.most_rows) for segment in m.segments] for m in manifest.members]
        self.short_rows = self.rows_together(SHORT_US)
        self._within: dict[tuple[int, int, float], int] = {}

    def run_us(self, member: int, depth: int, rows: int) -> float:
        """Time of the segment that starts at `depth` with `rows` rows, 1 to max_batch_size."""
        return self._us[member][depth][rows]

    def chain_us(self, member: int, depth: int, end: int, rows: int) -> float:
        """Time of the segments from `depth` up to `end`, one after the other, with `rows` rows."""
        if end == depth + 1:
            return self._us[member][depth][rows]
        return sum(segment[rows] for segment in self._us[member][depth:end])

    def together_us(self, rows: int) -> float:
        """Time of the whole ensemble with `rows` rows on one worker."""
        return sum(segment[rows] for member in self._us for segment in member)

    def rows_together(self, limit_us: float) -> int:
        """Most rows with which the whole ensemble takes up to `limit_us` on one worker; 0 = none."""
        fitting = [rows for rows in range(1, self.most_rows + 1) if self.together_us(rows) <= limit_us]
        return max(fitting, default=0)

    def longest_us(self) -> float:
        """Time of the longest segment with one row."""
        return max(segment[1] for member in self._us for segment in member)

    def rows_within(self, member: int, depth: int, limit_us: float) -> int:
        """Most rows whose run stays within `limit_us`; at least 1."""
        key = member, depth, limit_us
        if key not in self._within:  # limits are few: one, but for tests
            longest = np.maximum.accumulate(self._us[member][depth])
            self._within[key] = max(1, int(np.searchsorted(longest, limit_us, side="right")) - 1)
        return self._within[key]


def _by_rows(profile: dict[int, float], most_rows: int) -> list[float]:
    """Time for 0..most_rows rows."""
    if not profile:
        return [UNPROFILED_ROW_US * rows for rows in range(most_rows + 1)]
    return times_by_rows(profile, most_rows)


class RunPlan:
    """What a ticket's requested exits need; tickets that request the same exits share it.

    Attributes:
        exits: numbers of the requested exits, ascending; the last is the full ensemble.
        depths: by place in `exits`, the members' depths.
        pairs: (member, depth) whose votes some requested exit takes.
        plain: nothing but the full vote is requested.
    """

    def __init__(self, manifest: Manifest, costs: RunCosts, requested_exits: np.ndarray, workers: int) -> None:
        self.exits = [int(exit_) for exit_ in np.flatnonzero(requested_exits)]
        self.depths = [manifest.exits[exit_].depths for exit_ in self.exits]
        self.pairs = {(number, depth) for depths in self.depths for number, depth in enumerate(depths) if depth}
        self.plain = len(self.exits) == 1
        segments_us = [
            [costs.run_us(number, depth, 1) for depth in range(member.depth)]
            for number, member in enumerate(manifest.members)
        ]
        last = len(self.exits) - 1
        crowded = slowed(manifest.slowdown, workers) > 1.0  # else to work ahead costs nothing
        self._orders = [
            RunOrder((*choice, last), self.depths, segments_us, ahead)
            for ahead in ((True, False) if crowded else (True,))
            for choice in target_choices(last)
        ]
        self._straight = RunOrder((last,), self.depths, segments_us)
        self._times = {
            count: np.array(
                [
                    exit_times(segments_us, self.depths, count, order.targets, manifest.slowdown, order.works_ahead)
                    for order in self._orders
                ]
            )
            for count in {1, workers}
        }

    def straight(self) -> RunOrder:
        """The order that is fastest to the full vote."""
        return self._straight

    def every(self) -> RunOrder:
        """The order that works towards every exit in turn."""
        return self._orders[0]

    def best(self, leaving: Sequence[float], workers: int, many_rows: bool = False) -> RunOrder:
        """The order with the least expected time to an answer; where several come close, the one with most targets.

        Targets also tell what is speculative, which matters once other tickets wait.

        Args:
            leaving: by exit of the bag, the share of the rows that come to it open and leave there.
            workers: that the ticket may hope for; 1 or the engine's.
            many_rows: the ticket is answered when its last row is, which mostly needs later exits: always work ahead.
        """
        stays = 1.0
        answers = np.empty(len(self.exits))
        for place, exit_ in enumerate(self.exits[:-1]):
            answers[place] = stays * leaving[exit_]
            stays -= answers[place]
        answers[-1] = stays
        expected_us = self._times[workers] @ answers
        if many_rows:
            expected_us[[not order.works_ahead for order in self._orders]] = np.inf
        return self._orders[int((expected_us <= (1.0 + CLOSE) * expected_us.min()).argmax())]


def target_choices(early: int) -> list[tuple[int, ...]]:
    """Early exits to work towards: all; all but one, the first or last few, one alone; none. Most first."""
    everything = tuple(range(early))
    choices = {everything, ()}
    for place in everything:
        choices |= {everything[:place], everything[place:], (place,), everything[:place] + everything[place + 1 :]}
    return sorted(choices, key=lambda item: (-len(item), item))


class RunOrder:
    """The exits that are worked towards; those in between come by the way.

    Attributes:
        targets: places in the plan's exits, ascending, the last among them.
        works_ahead: idle workers run what only a later target needs.
    """

    def __init__(
        self,
        targets: tuple[int, ...],
        depths: Sequence[tuple[int, ...]],
        segments_us: Sequence[Sequence[float]],
        works_ahead: bool = True,
    ) -> None:
        self.targets = targets
        self.works_ahead = works_ahead
        self._aim = [next(target for target in targets if target >= place) for place in range(len(depths))]
        self._urgency = [  # [member][depth][place of the exit that is due]
            [[urgency(us, depths, targets, aim, member, depth) for aim in self._aim] for depth in range(len(us))]
            for member, us in enumerate(segments_us)
        ]

    def aim(self, due: int) -> int:
        """Place of the exit that is worked towards when the exit at place `due` is the next."""
        return self._aim[due]

    def urgency(self, member: int, depth: int, due: int) -> tuple[int, float]:
        """See exit_times.urgency: of the segment at `depth`, when the exit at place `due` is the next."""
        return self._urgency[member][depth][due]


class Orders:
    """A plan for every set of exits that tickets have requested, and the choice of an order for each ticket.

    Attributes:
        leaving: by gear (lean or not) and exit, the share of the rows that come to it open and leave there.
    """

    def __init__(self, manifest: Manifest, costs: RunCosts, workers: int) -> None:
        self.leaving = {lean: [0.0] * len(manifest.exits) for lean in (False, True)}
        self._manifest = manifest
        self._falls_back = manifest.settings.falls_back
        self._costs = costs
        self._workers = workers
        self._plans: dict[bytes, RunPlan] = {}

    def plan(self, requested_exits: np.ndarray) -> RunPlan:
        """The plan of tickets that request these exits, bool [exits]."""
        if (key := requested_exits.tobytes()) not in self._plans:
            self._plans[key] = RunPlan(self._manifest, self._costs, requested_exits, self._workers)
        return self._plans[key]

    def of(self, ticket: Ticket, plan: RunPlan, alone: bool) -> RunOrder:
        """The order of a new ticket, by its plan; `alone`: no other unanswered one is in the engine."""
        if ticket.hurries or self._falls_back:  # any vote may be its best so far
            return plan.every()
        if ticket.never.all():
            return plan.straight()
        many_rows = ticket.rows > 1 and not ticket.in_parts
        return plan.best(self.leaving[ticket.lean], self._workers if alone else 1, many_rows)

    def learn(self, exit_: int, share: float, lean: bool) -> None:
        """At an exit this share of a ticket's open rows left."""
        leaving = self.leaving[lean]
        leaving[exit_] += MEMORY * (share - leaving[exit_])

    def staying(self, exits: Iterable[int], lean: bool) -> float:
        """Share of the rows that would leave at none of `exits`."""
        stays, leaving = 1.0, self.leaving[lean]
        for exit_ in exits:
            stays *= 1.0 - leaving[exit_]
        return stays
