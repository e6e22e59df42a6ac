"""Gears: whether a ticket asks for the schedule's exits, or plainly for the full vote.

Where exits do not pay (small bags, nobody leaves), asking for them costs time and gives none back. Then tickets take
the plain gear: whole members, no ramps, one vote. Which gear pays is measured, not assumed: the gear that is not in use
is probed with a known probability, by a coin that knows nothing of the rows, so both gears see the same traffic and the
same load, and the one with the lower mean latency is kept (with a margin, so that it does not swing).

The promise is not touched: a plain ticket's answers are full votes.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import numpy as np

MARGIN = 0.05  # how much less latency the other gear must have before it is taken
CLEAR = 0.7  # a gear that has this share of the other's latency is asked about less and less
EVIDENCE = 128  # probes on which a comparison is based
DAMPED = 8.0  # longest latency that is believed, in times of the full ensemble's: one stall must not decide
MOST_OFTEN, LEAST_OFTEN = 1 / 16, 1 / 256  # probability of a probe
LEARNT_ROWS = 1000  # finished rows before the plain gear may be taken: a tuner that knows nothing lets nobody leave


class Gear(IntEnum):
    """What a ticket asks for."""

    EXITS = 0
    PLAIN = 1


class Gears:
    """Chooses a gear for every ticket by the latencies of both.

    Args:
        full_us: gives the full ensemble's latency by number of rows, as profiled, so that tickets of different sizes
            can be compared.
        rng: for the coins of the probes.

    Attributes:
        gear: the one in use.
        probe_share: probability with which a ticket takes the other one.
    """

    def __init__(self, full_us: Callable[[int], float], rng: np.random.Generator) -> None:
        self.gear = Gear.EXITS
        self.probe_share = MOST_OFTEN
        self._full_us = full_us
        self._rng = rng
        self._begin()

    def choose(self, learnt_rows: int) -> Gear:
        """The gear of a ticket that is admitted now.

        Args:
            learnt_rows: finished rows from which the tuner has learnt.
        """
        if self.gear == Gear.EXITS and (learnt_rows < LEARNT_ROWS or not self._may_be_slower()):
            return self.gear
        return Gear(1 - self.gear) if self._rng.random() < self.probe_share else self.gear

    def took(self, gear: Gear, rows: int, latency_us: float) -> None:
        """A ticket without deadline was answered.

        Args:
            gear: its own.
            rows: how many.
            latency_us: from its admission to its last answer.
        """
        self._tickets[gear] += 1
        # every ticket of the gear in use weighs as little as it must for the mean to cover the same time as the probes
        weight = max(1 / self._tickets[gear], 1 / EVIDENCE * (1.0 if gear != self.gear else self.probe_share))
        latency = min(latency_us / self._full_us(rows), DAMPED)
        self._latency[gear] += weight * (latency - self._latency[gear])
        other = Gear(1 - self.gear)
        if gear == other and self._tickets[other] >= EVIDENCE and self._tickets[self.gear] >= EVIDENCE:
            self._compare(self._latency[self.gear], self._latency[other])

    def metrics(self) -> dict[str, float]:
        """Numbers for operators; latencies in times of the profiled full ensemble's."""
        names = {Gear.EXITS: "latency_with_exits", Gear.PLAIN: "latency_plain"}
        numbers = {name: self._latency[gear] for gear, name in names.items() if self._tickets[gear]}
        return {"plain": float(self.gear == Gear.PLAIN), "probe_share": self.probe_share, **numbers}

    def _may_be_slower(self) -> bool:
        """Whether a plain ticket could be faster than those with exits; if not, a probe would cost and tell nothing."""
        return self._tickets[Gear.EXITS] >= EVIDENCE and self._latency[Gear.EXITS] >= 1.0 - MARGIN

    def _compare(self, used: float, other: float) -> None:
        if other < (1.0 - MARGIN) * used:
            self.gear = Gear(1 - self.gear)
            self.probe_share = MOST_OFTEN
            self._begin()
        elif used < CLEAR * other:
            self.probe_share = max(LEAST_OFTEN, self.probe_share / 2)
            self._begin()

    def _begin(self) -> None:
        """Forget: what is compared next is measured from now on."""
        self._tickets = {gear: 0 for gear in Gear}
        self._latency = {gear: 0.0 for gear in Gear}
