"""Admission: which waiting requests become the next ticket, and which exits it asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from exeunt.bag_stages import BagStages
from exeunt.deciding.counters import Counters
from exeunt.deciding.gears import Gear, Gears, PlainTickets
from exeunt.deciding.lean import LeanChoice
from exeunt.deciding.request import Request
from exeunt.deciding.request_queue import RequestQueue
from exeunt.manifest import Manifest
from exeunt.row_times import times_by_rows

# share of tickets that take the other gear than the load asks for, so that the tuner knows both gears before it needs
# them: at rest, where that costs little, and under load, where work is scarce
PROBES, PROBES_BEHIND = 1 / 8, 1 / 32
FEW = 4  # short tickets that one thread runs one after the other, while newcomers wait
LEAST_WAIT_US = 500_000.0  # the default of max_wait_ms, unless the bag is slow
WAIT_IN_FULL_RUNS = 10.0  # of a slow bag: in latencies of the full ensemble, about its p99 under load


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a ticket is made of.

    Attributes:
        requests: its requests.
        requested_exits: bool [exits], exits whose votes are asked for; the last always.
        gear: chosen for it; None where its latency says nothing about the gear.
        staged: in ensemble mode, its members run stage by stage.
        lean: its exits are those of the gear with the least work.
    """

    requests: tuple[Request, ...]
    requested_exits: np.ndarray
    gear: Gear | None
    staged: bool
    lean: bool = False


class Admission:
    """The requests that wait, and the choice of a gear for those whose turn it is.

    Args:
        manifest: the bag; its settings rule.
        counters: shadow and plain tickets are counted there.
        rng: for the shadow coins, and for the gears'.
        saves_work: says whether the operator wants less feedback, and so less work.

    Attributes:
        queue: requests that wait for a ticket.
        gears: whether tickets ask for the exits.
        lean: whether tickets take the gear with the least work.
        plain_tickets: how the runner wants tickets of the plain gear; None = like all others. Set before the first
            request.
    """

    def __init__(
        self, manifest: Manifest, counters: Counters, rng: np.random.Generator, saves_work: Callable[[], bool]
    ) -> None:
        self.queue = RequestQueue(
            manifest.max_batch_size,
            manifest.settings.max_waiting_rows,
            max_wait_us_of(manifest),
            len(manifest.settings.classes_of_service),
        )
        self.gears = Gears(full_us_of(manifest), rng.spawn(1)[0], gears_of(manifest))
        self.lean = LeanChoice()
        self._masks = manifest.gear_masks
        self.plain_tickets: PlainTickets | None = None
        self._settings = manifest.settings
        self._falls_back = manifest.settings.falls_back
        self._counters = counters
        self._rng = rng
        self._saves_work = saves_work
        # the engine merges tickets at every segment by itself: there a ticket is one request
        self._most_requests = 1 if manifest.mode == "engine" else None

    def next(self, in_flight: int, active: Callable[[], np.ndarray], now_us: int) -> Admitted | None:
        """What the next ticket is made of; None where nobody waits or every place is taken.

        Args:
            in_flight: tickets that take a place.
            active: gives the exits that are offered now, bool [exits]; the array is the caller's.
            now_us: the time.
        """
        plain = self._plain_tickets()
        places = self._settings.max_tickets if plain is None else min(plain.at_a_time, self._settings.max_tickets)
        if in_flight >= places or not len(self.queue):
            return None
        if plain is None:
            requests = self.queue.take(now_us, self._most_requests)
        else:
            requests = self.queue.take(now_us, None, plain.most_rows)
        return self._admitted(requests, active, in_flight + len(requests) + len(self.queue))

    @property
    def few_short_tickets(self) -> bool:
        """Whether tickets are plain and short now, and FEW of them hold all who wait."""
        plain = self._plain_tickets()
        return plain is not None and self.queue.waiting_rows <= FEW * plain.most_rows

    def metrics(self) -> dict[str, float]:
        """Numbers of the gears for operators."""
        return {**self.gears.metrics(), "lean": float(self.lean.lean), "lean_changes": float(self.lean.changes)}

    def _plain_tickets(self) -> PlainTickets | None:
        """How the tickets of the present block are made, if otherwise than those with exits."""
        gear = self._settings.gear
        plain = gear == "plain" or (gear == "auto" and self.gears.block_gear == Gear.PLAIN)
        return self.plain_tickets if plain else None

    def _admitted(self, requests: tuple[Request, ...], active: Callable[[], np.ndarray], unanswered: int) -> Admitted:
        settings = self._settings
        staged = settings.gear == "stages" or (settings.gear == "auto" and self._in_stages())
        if settings.shadow_share > 0 and self._rng.random() < settings.shadow_share:
            self._counters.shadow_tickets += 1
            lean = len(self._masks) > 1 and self._rng.random() < 0.5  # either gear has to teach
            return Admitted(requests, self._masks[int(lean)].copy(), None, staged, lean)
        exits, gear, lean = active(), None, False
        if len(self._masks) > 1:
            lean = self._lean(unanswered)
            exits &= self._masks[int(lean)]
        if self._falls_back or any(request.options.hurries for request in requests):
            pass  # any vote may be its best so far
        elif settings.gear == "plain" or all(request.options.never for request in requests):
            exits[:-1] = False
        elif settings.gear == "auto" and exits[:-1].any():
            if self.lean.lean and self.gears.gear == Gear.EXITS:  # a server that is behind does not try whole members
                block_gear, counts = Gear.EXITS, False
            else:
                block_gear, counts = self.gears.choose(self._counters.finished_rows)
            exits[:-1] &= block_gear != Gear.PLAIN
            gear = block_gear if counts else None
            staged = block_gear == Gear.STAGES or self._in_stages()
        plain = not exits[:-1].any()
        self._counters.plain_tickets += plain
        self._counters.lean_tickets += lean and not plain
        return Admitted(requests, exits, gear, staged, lean)

    def _lean(self, unanswered: int) -> bool:
        """Whether a ticket of a bag with two gears is lean: as the load asks, a few otherwise, so that both teach."""
        if self._settings.gear != "auto":
            return self._settings.gear == "lean"
        lean = self.lean.choose(unanswered)
        return not lean if self._rng.random() < (PROBES_BEHIND if lean else PROBES) else lean

    def _in_stages(self) -> bool:
        """Stages are in use, or less work is wanted: only a stage that has not run can be left out."""
        return self.gears.block_gear == Gear.STAGES or self._saves_work()


def gears_of(manifest: Manifest) -> tuple[Gear, ...]:
    """The gears that a bag has, the one to begin with first."""
    if manifest.mode == "ensemble" and len(BagStages(manifest).ends) > 1:
        return Gear.STAGES, Gear.EXITS, Gear.PLAIN
    return Gear.EXITS, Gear.PLAIN


def full_us_of(manifest: Manifest) -> Callable[[int], float]:
    """The full ensemble's latency by number of rows, 1 to max_batch_size, microseconds, as profiled."""
    times_us = times_by_rows(manifest.exits[-1].elapsed_us, manifest.max_batch_size)
    return lambda rows: max(1.0, times_us[rows])


def max_wait_us_of(manifest: Manifest) -> float:
    """Longest time that a request may be expected to wait for a ticket: as the settings say, or by the bag's costs."""
    if manifest.settings.max_wait_ms:
        return 1000.0 * manifest.settings.max_wait_ms
    return max(LEAST_WAIT_US, WAIT_IN_FULL_RUNS * float(manifest.costs().elapsed_us[-1]))
