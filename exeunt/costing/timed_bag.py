"""A bag as a simulation needs it: how long its runs take, how that varies, where answers leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from exeunt.bag_stages import BagStages
from exeunt.costing.answers import AnswerMix, answer_mix, leaving_of
from exeunt.costing.host_times import BATCH_ROWS, HostTimes
from exeunt.costing.path_costs import PathCosts
from exeunt.engine.exit_times import slowed
from exeunt.engine.plan import RunCosts, RunOrder, RunPlan
from exeunt.manifest import Manifest
from exeunt.row_times import times_by_rows
from exeunt.settings import Settings


@dataclass(frozen=True, slots=True)
class TimedBag:
    """One bag on one host.

    Attributes:
        mix: its answers.
        mode: "engine" or "ensemble".
        cores: of the host; the engine has a worker for each.
        passes_us: by member, float64 [passes, segments]: times of one row on one core, in passes of which one is as
            likely as another.
        row_factors: by member, the time of a run by its rows, in times of one row's.
        exits: the exits that are offered, by number, ascending.
        depths: of these exits, by member.
        head_us: time of their heads.
        orders: of a ticket's work, where others are unanswered and where it is alone; used by the engine.
        stages: places in `exits` at which a call of NAME_bag ends; used by ensemble mode.
        most_rows: of a run.
        settings: of the bag.
    """

    mix: AnswerMix
    mode: str
    cores: int
    passes_us: tuple[np.ndarray, ...]
    row_factors: tuple[tuple[float, ...], ...]
    exits: tuple[int, ...]
    depths: tuple[tuple[int, ...], ...]
    head_us: tuple[float, ...]
    orders: tuple[RunOrder, RunOrder]
    stages: tuple[int, ...]
    most_rows: int
    settings: Settings

    @property
    def member_depths(self) -> list[int]:
        """Number of segments by member."""
        return [passes_us.shape[1] for passes_us in self.passes_us]

    @property
    def full_us(self) -> float:
        """Mean time of one core for all members."""
        return float(sum(passes_us.sum(axis=1).mean() for passes_us in self.passes_us))

    def plain_room_per_s(self, costs: PathCosts) -> float:
        """Rate that the plain ensemble's processes can work off."""
        members = len(self.passes_us)
        return self._per_s(self.full_us + costs.plain_us(members), members)

    def room_per_s(self, costs: PathCosts) -> float:
        """Rate at which the bag still finishes every answered input."""
        exits, segments = len(self.exits), sum(self.member_depths)
        if self.mode == "engine":
            return self._per_s(self.full_us + costs.engine_us(exits), self.cores)
        return self._per_s(self.full_us + costs.ensemble_us(segments, exits, len(self.stages)), len(self.passes_us))

    def _per_s(self, request_us: float, running: int) -> float:
        return self.cores / slowed(self.mix.slowdown, max(running, self.cores)) * 1e6 / request_us

    def with_shares(self, shares: np.ndarray) -> TimedBag:
        """The same bag where answers leave otherwise; float64 [exits of the bag], sum 1."""
        return replace(self, mix=replace(self.mix, shares=shares))

    def places(self, requests: int, rng: np.random.Generator) -> list[int]:
        """Places in `exits` at which so many requests leave."""
        return [int(place) for place in np.searchsorted(self.exits, self.mix.drawn(requests, rng))]

    def reached(self, depths: Sequence[int], place: int) -> bool:
        """Whether the exit at `place` is complete where so many segments have run, by member."""
        return all(depth >= needed for depth, needed in zip(depths, self.depths[place], strict=True))

    def pass_us(self, rng: np.random.Generator) -> list[list[float]]:
        """Times of one row's segments, by member, as they happen to be."""
        return [passes_us[rng.integers(len(passes_us))].tolist() for passes_us in self.passes_us]


def timed_bag(manifest: Manifest, shares: Sequence[float], cores: int, times: HostTimes | None = None) -> TimedBag:
    """Put a bag together.

    Args:
        manifest: with measured times.
        shares: of the answers that leave at each exit.
        cores: of the host.
        times: measured on the host; None: the manifest's medians, which vary by nothing.

    Raises:
        ConfigError: shares that are no shares of the bag's exits.
    """
    mix = answer_mix(manifest, shares, cores)
    plan = RunPlan(manifest, RunCosts(manifest), manifest.gear_masks[0], cores)
    leaving = leaving_of(mix.shares)
    sizes = sorted(manifest.members[0].segments[0].cost_us)
    if times is None:
        passes_us = tuple(np.array([[segment.cost_us[1] for segment in m.segments]]) for m in manifest.members)
        whole_us = [{size: sum(s.cost_us[size] for s in m.segments) for size in sizes} for m in manifest.members]
        factors = [{size: us / by_rows[1] for size, us in by_rows.items()} for by_rows in whole_us]
    else:
        passes_us = times.passes_us
        factors = [{1: 1.0, BATCH_ROWS: factor} for factor in times.batch_factors]
        mix = replace(mix, slowdown=times.slowdown)
    ends = BagStages(manifest).ends
    return TimedBag(
        mix=mix,
        mode=manifest.mode,
        cores=cores,
        passes_us=passes_us,
        row_factors=tuple(tuple(times_by_rows(by_rows, manifest.max_batch_size)) for by_rows in factors),
        exits=tuple(plan.exits),
        depths=tuple(plan.depths),
        head_us=tuple(manifest.costs().head_us[plan.exits].tolist()),
        orders=(plan.best(leaving, 1), plan.best(leaving, cores)),
        stages=tuple(place for place, exit_ in enumerate(plan.exits) if exit_ in ends),
        most_rows=manifest.max_batch_size,
        settings=manifest.settings,
    )
