"""One bag under rising load, in simulated time: the real controller, tuner and scheduler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.gears.made_bags import Probabilities, with_settings
from exeunt.deciding import votes
from exeunt.deciding.controller import Controller
from exeunt.deciding.request import Request
from exeunt.deciding.ticket import Ticket
from exeunt.engine.exit_times import slowed
from exeunt.engine.sampling import FinishProbability
from exeunt.manifest import Manifest
from exeunt.records.feedback import Feedback
from exeunt.tuning.registry import make_tuner
from exeunt.tuning.tuner import Setup
from tests.engine.simulate import Simulation

WARM_UP_LOAD = 0.3
DAY_MS = 86_400_000.0  # nobody is refused for the time that it would wait


@dataclass(frozen=True, slots=True)
class Level:
    """One load.

    Attributes:
        load: arrivals, in times of what the workers do when every row runs whole.
        p50_ms, mean_ms, p99_ms: of the latencies.
        work: per answer, in times of the full ensemble's.
        early: share of answers on trust.
        full: share of full votes.
        loss: share of answers that differ from the full vote.
    """

    load: float
    p50_ms: float
    mean_ms: float
    p99_ms: float
    work: float
    early: float
    full: float
    loss: float


class Run:
    """A controller and its simulated engine, to be put under load after load.

    Args:
        manifest: the bag.
        calibration: its rows.
        probabilities: of the stream's rows, taken in order, over and over.
        seed: of coins and arrivals.
        watch: see Simulation.
    """

    def __init__(
        self,
        manifest: Manifest,
        calibration: Feedback,
        probabilities: Probabilities,
        seed: int,
        watch: Callable[..., None] | None = None,
    ) -> None:
        manifest = with_settings(manifest, max_wait_ms=DAY_MS, max_waiting_rows=1_000_000)
        settings = manifest.settings
        tuner = make_tuner(Setup(manifest.costs(), settings, calibration, settings.seed))
        self.controller = Controller(manifest, tuner, np.random.default_rng(seed))
        last = [probabilities[member, item.depth] for member, item in enumerate(manifest.members)]
        self.controller.admission.lean.workers = settings.workers
        self._labels = votes.labels(votes.vote(last, manifest.weights.tolist(), manifest.vote))
        self._probabilities = probabilities
        sampling = FinishProbability.of(settings)
        self.simulation = Simulation(
            self.controller, settings.workers, self._votes, sampling, watch, like_the_engine=True
        )
        self._rng = np.random.default_rng(seed)
        self._next_key = 0
        work_us = sum(segment.cost_us[1] for member in manifest.members for segment in member.segments)
        self._capacity = settings.workers / slowed(manifest.slowdown, settings.workers) / work_us  # rows per us

    def at(self, load: float, rows: int) -> Level:
        """Ask for `rows` rows at a load, and wait for the last."""
        gaps_us = self._rng.exponential(1.0 / (load * self._capacity), rows)
        arrivals = [
            (float(at_us), Request(self._next_key + number, 1))
            for number, at_us in enumerate(self.simulation.now_us + np.cumsum(gaps_us))
        ]
        counters = self.simulation.scheduler.counters
        before = counters.work_us, counters.full_work_us
        self.simulation.releases.clear()
        self.simulation.ran.clear()
        self._next_key += rows
        self.simulation.run(arrivals)
        releases = [release for _, release in self.simulation.releases]
        answers = [release.answer for release in releases if release.answer is not None]
        keys = [release.key for release in releases if release.answer is not None]
        latencies_ms = np.array([release.latency_us for release in releases]) / 1000.0
        reason = np.array([int(answer.reason[0]) for answer in answers])
        label = np.array([int(answer.label[0]) for answer in answers])
        wrong = label != self._labels[np.array(keys) % len(self._labels)]
        return Level(
            load=load,
            p50_ms=float(np.median(latencies_ms)),
            mean_ms=float(latencies_ms.mean()),
            p99_ms=float(np.percentile(latencies_ms, 99)),
            work=(counters.work_us - before[0]) / (counters.full_work_us - before[1]),
            early=float((reason == 1).mean()),
            full=float((reason == 0).mean()),
            loss=float(wrong.mean()),
        )

    def _votes(self, ticket: Ticket) -> Probabilities:
        rows = np.array([request.key for request in ticket.requests]) % len(self._labels)
        return {pair: array[rows] for pair, array in self._probabilities.items()}


def levels(run: Run, loads: Sequence[float], rows: int, warm_up_rows: int) -> list[Level]:
    """Warm up, then load after load."""
    run.at(WARM_UP_LOAD, warm_up_rows)
    return [run.at(load, rows) for load in loads]
