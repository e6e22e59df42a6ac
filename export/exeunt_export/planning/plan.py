"""Choosing exits and cuts: as many exits as are wanted and as the ramp budget pays for (design: export, 4 and 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exeunt.errors import ConfigError
from exeunt_export.bagfile.bagfile import Cuts
from exeunt_export.cutting.cuts import Boundary, boundaries, candidates
from exeunt_export.cutting.split import Cut, make_cut
from exeunt_export.nodecosts import NodeCosts
from exeunt_export.planning import align
from exeunt_export.planning.pricing import RampPrices
from exeunt_export.readers import shapes
from exeunt_export.readers.graph import MemberGraph

_WORTH = 0.8  # a coarser grid must bring the ramps' price down to this share, else the finer one stays


@dataclass(frozen=True, slots=True)
class MeasuredMember:
    """A member with everything that planning needs.

    Attributes:
        member: its graph.
        costs: times of its nodes.
        boundaries: every place between two nodes.
    """

    member: MemberGraph
    costs: NodeCosts
    boundaries: tuple[Boundary, ...]

    @classmethod
    def of(cls, member: MemberGraph, costs: NodeCosts) -> MeasuredMember:
        """Find the boundaries of a member, after freeing its shapes from tensors inside it."""
        shapes.take_shapes_from_inputs(member, costs)
        return cls(member, costs, tuple(boundaries(member, costs)))


@dataclass(frozen=True, slots=True)
class ExitPlan:
    """What will be cut.

    Attributes:
        cuts: per member, in order.
        exits: per exit a depth for each member; the last is the full ensemble.
        ramp_us: what all pooling and heads add to the bag's work.
        work_us: the bag's work, all members' times summed.
        warnings: what the operator should know.
        weights: per exit the members' weights there, None = the bag's; empty = the bag's at every exit.
        slowdown: of runs beside each other, see exeunt.engine.exit_times.slowed.
        targets: places of the exits that one row's work had better go towards; empty = all.
        works_ahead: whether idle workers then had better run what only a later target needs.
        gears: see Manifest.gears; of each but the first, with all exits targeted.
    """

    cuts: tuple[tuple[Cut, ...], ...]
    exits: tuple[tuple[int, ...], ...]
    ramp_us: float
    work_us: float
    warnings: tuple[str, ...]
    weights: tuple[tuple[float, ...] | None, ...] = ()
    slowdown: tuple[float, ...] = ()
    targets: tuple[int, ...] = ()
    works_ahead: bool = True
    gears: tuple[tuple[int, ...], ...] = ()

    @property
    def ramp_share(self) -> float:
        """What the ramps add, as a share of the bag's work."""
        return self.ramp_us / self.work_us if self.work_us else 0.0


def make_plan(members: Sequence[MeasuredMember], options: Cuts, classes: int, where: str) -> ExitPlan:
    """Place cuts for as many exits as the ramp budget pays for.

    Args:
        members: at least one.
        options: the bag file's [cuts].
        classes: number of classes.
        where: the bag file, for messages.

    Raises:
        ConfigError: exits are wanted and no member can be cut within the width.
    """
    total_us = max(member.costs.total_us for member in members)
    work_us = sum(member.costs.total_us for member in members)
    offered = [candidates(list(member.boundaries), options.max_cut_width) for member in members]
    warnings = [f"{where}: [cuts] exits = 0: the bag has no early exit; every answer waits for the full vote"]
    if options.exits:
        warnings = _check_cuttable(members, offered, options, where)
    warnings += [remark for member in members for remark in member.member.remarks]
    prices = RampPrices(classes, options.times)

    def place(exits: int, grid: int) -> list[list[Cut]]:
        wanted_us = align.wanted_times(total_us, exits)
        grids = [depth for depth in options.grid if depth <= grid]
        placed = [align.place_cuts(o, m.costs.total_us, wanted_us) for m, o in zip(members, offered, strict=True)]
        return [[make_cut(m.member, b, classes, grids) for b in p] for m, p in zip(members, placed, strict=True)]

    def price(exits: int, grid: int) -> float:
        return _ramps_us(members, place(exits, grid), align.wanted_times(total_us, exits), prices)

    exits, grid = fit_budget(price, options.ramp_budget * work_us, options.exits, options.grid)
    if exits < options.exits:
        warnings.append(_over_budget(where, options, exits, price(options.exits, max(options.grid)), work_us))
    cuts = place(exits, grid) if exits else [[] for _ in members]
    # without a single ramp there still are exits at which the faster members have finished
    wanted_us = align.wanted_times(total_us, exits or options.exits)
    aligned = align.align(reached_times_us(members, cuts), wanted_us)
    ramp_us = _ramps_us(members, cuts, wanted_us, prices)
    return ExitPlan(tuple(map(tuple, cuts)), tuple(aligned), ramp_us, work_us, tuple(warnings))


def fit_budget(
    price_us: Callable[[int, int], float], budget_us: float, exits: int, grids: Sequence[int]
) -> tuple[int, int]:
    """The most exits that the budget pays for, and the finest grid for that many.

    A coarser grid is only taken if it makes the ramps clearly cheaper: where starting the heads is what costs, it
    would spoil the ramps for nothing.

    Args:
        price_us: (exits, finest grid allowed) -> what all ramps cost.
        budget_us: most they may cost.
        exits: wanted.
        grids: allowed.

    Returns:
        (0..exits, a grid).
    """
    for count in range(exits, 0, -1):
        finest = None
        for grid in sorted(grids, reverse=True):
            price = price_us(count, grid)
            finest = price if finest is None else finest
            if price <= budget_us and (price == finest or price <= _WORTH * finest):
                return count, grid
    return 0, min(grids)


def reached_times_us(members: Sequence[MeasuredMember], cuts: Sequence[Sequence[Cut]]) -> list[list[float]]:
    """Per member the estimated times at which its depths are reached, microseconds."""
    return [
        [*(cut.boundary.share * member.costs.total_us for cut in member_cuts), member.costs.total_us]
        for member, member_cuts in zip(members, cuts, strict=True)
    ]


def _ramps_us(
    members: Sequence[MeasuredMember], cuts: Sequence[Sequence[Cut]], wanted_us: Sequence[float], prices: RampPrices
) -> float:
    exits = align.align(reached_times_us(members, cuts), wanted_us)
    heads = 0.0
    for depths in exits:
        voting = [cuts_[d - 1] for cuts_, d in zip(cuts, depths, strict=True) if 0 < d <= len(cuts_)]
        heads += prices.heads_us(voting) if voting else 0.0
    return heads + sum(prices.pooling_us(cut) for member_cuts in cuts for cut in member_cuts)


def _over_budget(where: str, options: Cuts, exits: int, price_us: float, work_us: float) -> str:
    return (
        f"{where}: [cuts] ramp_budget = {options.ramp_budget}: the ramps of {options.exits} exits would add "
        f"{price_us:.0f} us to {work_us:.0f} us of work ({price_us / work_us:.1%}); "
        f"{exits if exits else 'no'} exits with ramps are written. To have all, set ramp_budget = "
        f"{1.25 * price_us / work_us:.2g}"
    )


def _check_cuttable(
    members: Sequence[MeasuredMember], offered: Sequence[Sequence[Boundary]], options: Cuts, where: str
) -> list[str]:
    """Warnings about members that cannot be cut; an error if that is all of them and a wider cut would help."""
    warnings, cure = [], ""
    for member, places in zip(members, offered, strict=True):
        if places:
            continue
        wider = candidates(list(member.boundaries), len(member.boundaries) + 1)
        if wider:
            cure = f"raise [cuts] max_cut_width to {min(b.width for b in wider)} (now {options.max_cut_width})"
            message = f"no cut of width <= {options.max_cut_width}; {cure}"
        else:
            message = "no place where it can be cut"
        warnings.append(f"{member.member.where}: member {member.member.name}: {message}; it votes when it has finished")
    if cure and len(warnings) == len(members):
        names = ", ".join(member.member.where for member in members)
        raise ConfigError(f"{where}: no cut within the width in {names}; {cure}, or set [cuts] exits = 0")
    return warnings
