"""Requests to the plain Triton ensemble, in simulated time."""

from __future__ import annotations

from functools import partial

import numpy as np

from exeunt.costing.path_costs import PathCosts
from exeunt.costing.requests_in_time import Arrivals
from exeunt.costing.simulated_host import LINUX, ServedModel, SimulatedHost
from exeunt.costing.timed_bag import TimedBag


class PlainRun:
    """Every member is a model of its own, asked at once; their vote follows the last."""

    def __init__(self, bag: TimedBag, costs: PathCosts, rng: np.random.Generator) -> None:
        self.host = SimulatedHost(bag.cores, bag.mix.slowdown, LINUX, rng)
        self._bag = bag
        self._costs = costs
        self._rng = rng
        self._models = [
            ServedModel(self.host, bag.most_rows, partial(self._run_us, member)) for member in range(len(bag.passes_us))
        ]
        self._vote = ServedModel(self.host, bag.most_rows, lambda rows: costs.hop_us)

    def begin(self, arrivals: Arrivals, number: int) -> None:
        """A request has arrived."""
        remaining = [len(self._models)]

        def voted() -> None:
            self.host.work(self._costs.reply_us, partial(arrivals.answered, number, self.host))

        def member_ended() -> None:
            remaining[0] -= 1
            if not remaining[0]:
                self._vote.infer(1, voted)

        def ask() -> None:
            for model in self._models:
                model.infer(1, member_ended)

        self.host.work(self._costs.request_us, ask)

    def _run_us(self, member: int, rows: int) -> float:
        passes_us = self._bag.passes_us[member]
        alone_us = float(passes_us[self._rng.integers(len(passes_us))].sum())
        return self._costs.hop_us + alone_us * self._bag.row_factors[member][rows]
