"""Requests of an open or a closed loop, in simulated time."""

from __future__ import annotations

from functools import partial
from typing import Protocol

import numpy as np

from exeunt.costing.simulated_host import SimulatedHost


class Run(Protocol):
    """Whatever answers requests."""

    host: SimulatedHost

    def begin(self, arrivals: Arrivals, number: int) -> None:
        """A request has arrived; `arrivals.answered` is told of its answer."""


class Arrivals:
    """When requests arrived and were answered.

    Attributes:
        arrived_us, answered_us: float64 [requests].
    """

    def __init__(self, requests: int) -> None:
        self.arrived_us = np.full(requests, np.nan)
        self.answered_us = np.full(requests, np.nan)

    def arrive(self, number: int, run: Run) -> None:
        """A request is sent."""
        self.arrived_us[number] = run.host.now_us
        run.begin(self, number)

    def answered(self, number: int, host: SimulatedHost) -> None:
        """A caller has its answer."""
        self.answered_us[number] = host.now_us


class Callers(Arrivals):
    """Callers who never pause: an answer is followed by a request."""

    def __init__(self, requests: int, run: Run) -> None:
        super().__init__(requests)
        self._run = run
        self.sent = 0

    def call(self) -> None:
        """Send the next request, if any is left."""
        if self.sent < len(self.arrived_us):
            self.sent += 1
            self.arrive(self.sent - 1, self._run)

    def answered(self, number: int, host: SimulatedHost) -> None:
        """As Arrivals, and the next."""
        super().answered(number, host)
        self.call()


def latencies_us(run: Run, arrivals_us: np.ndarray) -> np.ndarray:
    """Latency of every request of an open loop; float64 [requests].

    Args:
        run: that has answered nothing yet.
        arrivals_us: ascending.
    """
    arrivals = Arrivals(len(arrivals_us))
    for number, at_us in enumerate(arrivals_us.tolist()):
        run.host.at(at_us, partial(arrivals.arrive, number, run))
    run.host.run()
    return arrivals.answered_us - arrivals.arrived_us


def answers_per_s(run: Run, callers: int, requests: int) -> float:
    """Answers per second where so many callers never pause.

    Args:
        run: that has answered nothing yet.
        callers: at a time.
        requests: of all together; the first half of them is not counted.
    """
    closed = Callers(requests, run)
    for _ in range(callers):
        run.host.at(0.0, closed.call)
    run.host.run()
    ends_us = np.sort(closed.answered_us)[requests // 2 : requests - callers]
    return float(1e6 * (len(ends_us) - 1) / (ends_us[-1] - ends_us[0]))
