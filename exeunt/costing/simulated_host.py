"""A host in simulated time: cores with a queue each, whose turn comes slice by slice, as in a kernel."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np

from exeunt.engine.exit_times import slowed

Then = Callable[[], None]  # what happens next
ROUNDING_US = 1e-6


@dataclass(frozen=True, slots=True)
class Kernel:
    """What an operating system does with more work than cores.

    Attributes:
        slice_us: how long work keeps its core while other work waits for the same core.
        idle_us: how long a core stays idle before it takes over work that waits for another.
    """

    slice_us: float
    idle_us: float


# Linux 6.18: CONFIG_HZ is 250. Of two busy processes on one core of two, one moved to the other core 40 and 50 ms after
# that had become free of a third, and six times of eight not within 60 ms (work of the lowest priority was about)
LINUX = Kernel(slice_us=4000.0, idle_us=60_000.0)


class SimulatedHost:
    """Work begins on an idle core where there is one, else it waits for its turn on any: woken processes do the same.

    Args:
        cores: of the host.
        slowdown: by number of pieces of work, from 1 on, how much longer each takes than its share of the cores
            explains; the last counts for more.
        kernel: of the host.
        rng: chooses among cores.

    Attributes:
        now_us: the time.
        core: on which work has ended last.
    """

    def __init__(self, cores: int, slowdown: Sequence[float], kernel: Kernel, rng: np.random.Generator) -> None:
        self.now_us = 0.0
        self.core = 0
        self._slowdown = slowdown
        self._kernel = kernel
        self._rng = rng
        self._cores = [_Core() for _ in range(cores)]
        self._expected: list[tuple[float, int, Then]] = []  # a heap: when
        self._work = 0  # pieces, running or waiting
        self._count = count()

    def at(self, at_us: float, then: Then) -> None:
        """Something happens at this time."""
        heapq.heappush(self._expected, (at_us, next(self._count), then))

    def work(self, core_us: float, then: Then, core: int | None = None) -> None:
        """Begin work that takes so long on a core of its own; `then` follows its end.

        Args:
            core_us: time of a core.
            then: what follows.
            core: of the process that does it, where it runs or waits already; None: any.
        """
        if core_us <= 0.0:
            self.at(self.now_us, then)
            return
        idle = [place for place, one in enumerate(self._cores) if not one.queue]
        if core is None:
            core = int(self._rng.choice(idle)) if idle else int(self._rng.integers(len(self._cores)))
        elif self._cores[core].queue and idle:
            self.at(self.now_us + self._kernel.idle_us, partial(self._take_over, idle[0]))
        self._cores[core].add(_Work(core_us, then), self.now_us, self._kernel.slice_us)
        self._work += 1

    def run(self) -> None:
        """Let the time pass until nothing is left to do."""
        while self._work or self._expected:
            pace = 1.0 / slowed(self._slowdown, max(1, self._work))
            next_us, place = min((one.next_us(self.now_us, pace), place) for place, one in enumerate(self._cores))
            expected = bool(self._expected) and self._expected[0][0] <= next_us
            now_us = self._expected[0][0] if expected else next_us
            for one in self._cores:
                one.advance((now_us - self.now_us) * pace)
            self.now_us = now_us
            if expected:
                heapq.heappop(self._expected)[-1]()
            elif (ended := self._cores[place].turn(now_us, self._kernel.slice_us)) is not None:
                self._ended(ended, place)

    def _ended(self, work: _Work, core: int) -> None:
        self._work -= 1
        self.core = core
        if not self._cores[core].queue and any(len(one.queue) > 1 for one in self._cores):
            self.at(self.now_us + self._kernel.idle_us, partial(self._take_over, core))
        work.then()

    def _take_over(self, core: int) -> None:
        """An idle core takes the last work that waits for the fullest."""
        fullest = max(self._cores, key=lambda one: len(one.queue))
        if not self._cores[core].queue and len(fullest.queue) > 1:
            self._cores[core].add(fullest.queue.pop(), self.now_us, self._kernel.slice_us)


@dataclass(eq=False, slots=True)
class _Work:
    """Work and what follows; `rest_us` of a core are left."""

    rest_us: float
    then: Then


class _Core:
    """One core.

    Attributes:
        queue: work; the first runs.
        turn_us: when the turn of the first ends, if anything else waits.
    """

    def __init__(self) -> None:
        self.queue: list[_Work] = []
        self.turn_us = 0.0

    def add(self, work: _Work, now_us: float, slice_us: float) -> None:
        """Work begins to run or to wait here."""
        if not self.queue:
            self.turn_us = now_us + slice_us
        elif self.turn_us <= now_us:  # the first has run alone for longer than a turn
            self.turn_us += math.ceil((now_us - self.turn_us) / slice_us) * slice_us
        self.queue.append(work)

    def next_us(self, now_us: float, pace: float) -> float:
        """When the first ends, or its turn."""
        if not self.queue:
            return math.inf
        end_us = now_us + self.queue[0].rest_us / pace
        return end_us if len(self.queue) == 1 else min(end_us, max(now_us, self.turn_us))

    def advance(self, core_us: float) -> None:
        """Time passes for what runs here."""
        if self.queue:
            self.queue[0].rest_us -= core_us

    def turn(self, now_us: float, slice_us: float) -> _Work | None:
        """The first ends, and is returned, or goes to the end of the queue; the next begins its turn."""
        first = self.queue.pop(0)
        self.turn_us = now_us + slice_us
        if first.rest_us <= ROUNDING_US:
            return first
        self.queue.append(first)
        return None


class ServedModel:
    """One Triton model with one instance: what waits when it becomes free shares its next run.

    Args:
        host: runs it.
        most_rows: of a run.
        run_us: time of a core for a run with so many rows.
    """

    def __init__(self, host: SimulatedHost, most_rows: int, run_us: Callable[[int], float]) -> None:
        self._host = host
        self._most_rows = most_rows
        self._run_us = run_us
        self._waiting: list[tuple[int, Then]] = []
        self._busy = False

    def infer(self, rows: int, then: Then) -> None:
        """Ask for some rows; `then` follows their answer."""
        self._waiting.append((rows, then))
        if not self._busy:
            self._begin(None)

    def _begin(self, core: int | None) -> None:
        rows = 0
        served: list[Then] = []
        while self._waiting and (not served or rows + self._waiting[0][0] <= self._most_rows):
            more, then = self._waiting.pop(0)
            rows += more
            served.append(then)
        self._busy = True
        self._host.work(self._run_us(rows), lambda: self._ended(served), core)

    def _ended(self, served: Sequence[Then]) -> None:
        self._busy = False
        if self._waiting:
            self._begin(self._host.core)
        for then in served:
            then()
