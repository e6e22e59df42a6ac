"""Gears: whether tickets ask for the schedule's exits, or plainly for the full vote; and by stages, or all at once.

Where exits do not pay (small bags, nobody leaves), asking for them costs time and gives none back. Then tickets take
the plain gear: whole members, no ramps, one vote. In ensemble mode a ticket with exits may run its members stage by
stage, which saves work, or side by side, which answers hard rows sooner where the machine has room.

Which gear pays is measured, not assumed. Gears are compared in blocks of tickets, because a ticket slows its
neighbours. An unused gear gets a block now and then at random, whatever the rows. The gear with the lower mean latency
is used (with a margin, so that it does not swing). The mean is geometric, so that one stall decides nothing. Under load
latency measures throughput, too, since all work that is under way slows a request down. A request that waited much
longer than it was in flight was slowed down by the blocks before, and does not count.

The promise is not touched: a plain ticket's answers are full votes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

BLOCK, WARM_UP = 48, 16  # tickets of a block; the first of them still run beside the other gear's, and do not count
BLOCKS = 8  # of every gear that is probed, before they are compared
MARGIN = 0.05  # how much less latency the other gear must have before it is taken
MUCH_SLOWER = 1.5  # a gear that takes so many times as long is probed much less often from then on
OWN_US = 200.0  # what asking for exits costs a ticket, roughly: where members take much longer, probes are rare
MOST_OFTEN, LEAST_OFTEN = 1 / 4, 1 / 256  # probability that a block is a probe
STAGES_OFTEN = 1 / 16  # at first, where members may run by stages: which is better depends on the machine
LEARNT_ROWS = 500  # finished rows before the plain gear may be taken: a tuner that knows nothing lets nobody leave
RECENT = 1 / 256  # weight of the newest ticket in the latency with exits
MOST_WAITING = 4.0  # longest wait of a request that counts, in times of its time in flight


@dataclass(frozen=True, slots=True)
class PlainTickets:
    """How a runner wants plain tickets where a request costs more to handle than to run.

    Attributes:
        at_a_time: tickets in flight; what comes meanwhile shares the next one.
        most_rows: of a ticket of several requests.
    """

    at_a_time: int
    most_rows: int


class Gear(IntEnum):
    """What a ticket asks for: exits, the full vote only, or exits with its members run stage by stage."""

    EXITS = 0
    PLAIN = 1
    STAGES = 2


class Gears:
    """Chooses a gear for every ticket by the latencies of all.

    Args:
        full_us: gives the full ensemble's latency by number of rows, as profiled, so that tickets of different sizes
            can be compared.
        rng: for the coins of the probes.
        offered: the gears of the bag, the one to begin with first.

    Attributes:
        gear: the one in use.
        block_gear: the one of the present block; another than `gear` in a probe.
        probe_share: probability with which a block is a probe.
    """

    def __init__(
        self,
        full_us: Callable[[int], float],
        rng: np.random.Generator,
        offered: tuple[Gear, ...] = (Gear.EXITS, Gear.PLAIN),
    ) -> None:
        self.gear = self.block_gear = offered[0]
        least_often = STAGES_OFTEN if Gear.STAGES in offered else LEAST_OFTEN
        self.probe_share = self._first_share = min(MOST_OFTEN, max(least_often, OWN_US / full_us(1)))
        self._offered = offered
        self._full_us = full_us
        self._rng = rng
        self._place = 0  # in the block
        self._recent = math.inf  # logarithm of the latency of tickets with exits, in times of the full ensemble's
        self._begin()

    def choose(self, learnt_rows: int) -> tuple[Gear, bool]:
        """The gear of a ticket that is admitted now, and whether its latency counts.

        Args:
            learnt_rows: finished rows from which the tuner has learnt.
        """
        if self._place == BLOCK:
            self._place = 0
            self._next_block(learnt_rows)
        self._place += 1
        return self.block_gear, self._place > WARM_UP

    def note_latency(self, gear: Gear, rows: int, latency_us: float, in_flight_us: float) -> None:
        """A request of a ticket that counts was answered.

        Args:
            gear: the ticket's.
            rows: of the request.
            latency_us: from its arrival to its answer.
            in_flight_us: from the admission of its ticket to its answer.
        """
        if latency_us > (1.0 + MOST_WAITING) * in_flight_us:
            return
        logarithm = math.log(max(1.0, latency_us) / self._full_us(rows))
        self._requests[gear] += 1
        self._summed[gear] += logarithm
        if gear == self.gear != Gear.PLAIN:
            has_recent = math.isfinite(self._recent)
            self._recent = self._recent + RECENT * (logarithm - self._recent) if has_recent else logarithm

    def metrics(self) -> dict[str, float]:
        """Numbers for operators; latencies in times of the profiled full ensemble's."""
        names = {Gear.EXITS: "latency_with_exits", Gear.PLAIN: "latency_plain", Gear.STAGES: "latency_in_stages"}
        numbers = {name: self._mean(gear) for gear, name in names.items() if self._requests[gear]}
        in_use = {"plain": float(self.gear == Gear.PLAIN), "stages": float(self.gear == Gear.STAGES)}
        return {**in_use, "probe_share": self.probe_share, **numbers}

    def _next_block(self, learnt_rows: int) -> None:
        """Begin a block: of the gear in use, or a probe of another; compare those that were probed often enough."""
        self.block_gear = self.gear
        rivals = [
            gear for gear in self._offered if gear != self.gear and not (gear == Gear.PLAIN and self._exits_pay())
        ]
        if rivals and min(self._blocks[gear] for gear in rivals) >= BLOCKS:
            self._compare(min(rivals, key=self._mean))
        elif rivals and learnt_rows >= LEARNT_ROWS and self._rng.random() < self.probe_share:
            self.block_gear = min(rivals, key=self._blocks.__getitem__)
            self._blocks[self.block_gear] += 1

    def _mean(self, gear: Gear) -> float:
        """Geometric mean of a gear's latencies since the last comparison; without any, infinite."""
        return math.exp(self._summed[gear] / self._requests[gear]) if self._requests[gear] else math.inf

    def _exits_pay(self) -> bool:
        """Whether tickets with exits are faster than any plain one could be: a probe would cost and tell nothing."""
        return self.gear != Gear.PLAIN and self._recent < math.log(1.0 - MARGIN)

    def _compare(self, rival: Gear) -> None:
        """Take another gear where it is clearly faster; else ask again later: less often, the slower it was."""
        ratio = self._mean(rival) / self._mean(self.gear) if self._requests[self.gear] else 1.0
        if ratio < 1.0 - MARGIN:
            self.gear = self.block_gear = rival
            self.probe_share = self._first_share
        self.probe_share = max(LEAST_OFTEN, self.probe_share / (8 if max(ratio, 1.0 / ratio) > MUCH_SLOWER else 2))
        self._begin()

    def _begin(self) -> None:
        """Forget: what is compared next is measured from now on."""
        self._blocks = {gear: 0 for gear in self._offered}
        self._requests = {gear: 0 for gear in Gear}
        self._summed = {gear: 0.0 for gear in Gear}
