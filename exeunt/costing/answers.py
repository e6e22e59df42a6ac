"""How long an answer takes and how much work it is, by the exit that it leaves at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from exeunt.engine.exit_times import exit_times, slowed, work_until_us
from exeunt.engine.plan import RunCosts, RunPlan
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest


@dataclass(frozen=True, slots=True)
class AnswerMix:
    """Answers of one bag, one row each; arrays are float64 [exits].

    Attributes:
        shares: of the answers that leave at each exit; sum 1.
        latency_us: at rest, from the start until the exit's vote, on so many cores.
        work_us: time of one core up to there.
        full_latency_us: at rest, where nobody leaves early and nobody works towards an exit.
        member_us: of each whole member on one core.
        segment_us: the longest segment: what a newcomer may have to wait for.
        slowdown: of runs beside each other, see exeunt.engine.exit_times.slowed.
        feedback: probability with which an answered row is finished.
    """

    shares: np.ndarray
    latency_us: np.ndarray
    work_us: np.ndarray
    full_latency_us: float
    member_us: tuple[float, ...]
    segment_us: float
    slowdown: tuple[float, ...] = ()
    feedback: float = 1.0

    @property
    def full_work_us(self) -> float:
        """Time of one core for the full ensemble."""
        return float(self.work_us[-1])

    @property
    def mean_work_us(self) -> float:
        """Time of one core that an answer takes on average, its feedback included."""
        finished = self.feedback * (self.full_work_us - self.work_us)
        return float(self.shares @ (self.work_us + finished))

    def full_speed(self, cores: int) -> float:
        """Cores, each alone on its machine, that do as much as so many busy ones."""
        return cores / slowed(self.slowdown, cores)

    def plain(self) -> AnswerMix:
        """The same bag without exits."""
        shares = np.zeros_like(self.shares)
        shares[-1] = 1.0
        return replace(self, shares=shares, latency_us=np.append(self.latency_us[:-1], self.full_latency_us))

    def drawn(self, answers: int, rng: np.random.Generator) -> np.ndarray:
        """Exits of so many answers, int [answers]."""
        return rng.choice(len(self.shares), size=answers, p=self.shares)


def answer_mix(manifest: Manifest, shares: Sequence[float], cores: int) -> AnswerMix:
    """A bag's answers on a machine with so many cores, each as fast as the profiled host's.

    Args:
        manifest: with measured times.
        shares: of the answers that leave at each exit.
        cores: segments that run at a time.

    Raises:
        ConfigError: shares that are no shares of the bag's exits.
    """
    by_exit = np.asarray(shares, dtype=np.float64)
    if len(by_exit) != len(manifest.exits) or (by_exit < 0).any() or not np.isclose(by_exit.sum(), 1.0, atol=0.02):
        raise ConfigError(f"shares {list(shares)}; allowed: one for each of {len(manifest.exits)} exits, sum 1")
    segments_us = [[segment.cost_us[1] for segment in member.segments] for member in manifest.members]
    depths = [exit_.depths for exit_ in manifest.exits]
    plan = RunPlan(manifest, RunCosts(manifest), manifest.gear_masks[0], cores)
    order = plan.best(leaving_of(by_exit), cores)
    times = exit_times(segments_us, plan.depths, cores, order.targets, manifest.slowdown, order.works_ahead)
    times_us = dict(zip(plan.exits, times, strict=True))
    for gear in manifest.gears[1:]:
        work = exit_times(segments_us, [depths[number] for number in gear], workers=1)  # see `elapsed_us` of the export
        times_us = {number: us * times[-1] / work[-1] for number, us in zip(gear, work, strict=True)} | times_us
    heads_us = np.cumsum(manifest.costs().head_us)
    return AnswerMix(
        shares=by_exit / by_exit.sum(),
        latency_us=np.array([times_us[number] for number in range(len(depths))]) + heads_us,
        work_us=np.array([work_until_us(segments_us, exit_) for exit_ in depths]) + heads_us,
        full_latency_us=exit_times(segments_us, depths, cores, plan.straight().targets, manifest.slowdown)[-1],
        member_us=tuple(sum(us) for us in segments_us),
        segment_us=max(max(us) for us in segments_us),
        slowdown=manifest.slowdown,
    )


def leaving_of(shares: np.ndarray) -> list[float]:
    """By exit, the share of the rows that come to it and leave there."""
    coming = 1.0 - np.append(0.0, np.cumsum(shares)[:-1])
    return [float(share / arriving) if arriving > 1e-9 else 0.0 for share, arriving in zip(shares, coming, strict=True)]
