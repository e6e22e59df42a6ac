"""In which order a ticket's segments had better go, by the shares of rows that left at each exit of late."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from exeunt.deciding.ticket import Ticket
from exeunt.engine.plan import RunCosts, RunOrder, RunPlan
from exeunt.manifest import Manifest

MEMORY = 1 / 32  # weight of the newest ticket


class Orders:
    """Plans of all sets of exits that tickets have wanted, and the choice of an order for each ticket.

    Args:
        manifest: the bag.
        costs: of runs.
        workers: number of runs at a time.

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

    def plan(self, wanted: np.ndarray) -> RunPlan:
        """What tickets need that want these exits, bool [exits]."""
        if (key := wanted.tobytes()) not in self._plans:
            self._plans[key] = RunPlan(self._manifest, self._costs, wanted, self._workers)
        return self._plans[key]

    def of(self, ticket: Ticket, alone: bool) -> RunOrder:
        """The order of a new ticket; `alone`: no other unanswered one is in the engine."""
        plan = self.plan(ticket.wanted)
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
