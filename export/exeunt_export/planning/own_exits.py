"""Members that bring exits of their own (BranchyNet, MSDNet, DeeBERT): outputs of the graph that become the ramps.

Nothing is trained: the member is cut where each of these outputs becomes computable, the segment up to there makes the
output too, as its FEATURES, and the heads pass it on. Cuts lie where the exits are, so `[cuts]` has no say in them.
"""

from __future__ import annotations

import dataclasses
import itertools
import operator
from collections.abc import Sequence

import onnx_ir as ir

from exeunt.contract import PROBABILITIES
from exeunt.errors import ConfigError
from exeunt_export.bagfile.bagfile import Cuts
from exeunt_export.cutting.cuts import Boundary, boundaries, candidates, lazy_order
from exeunt_export.cutting.split import Cut, make_cut
from exeunt_export.nodecosts import NodeCosts
from exeunt_export.planning import align
from exeunt_export.planning.plan import ExitPlan, MeasuredMember, reached_times_us
from exeunt_export.planning.pricing import RampPrices
from exeunt_export.readers.graph import MemberGraph

_OWN = "own exit"  # what `usable` says of such a boundary: no ramp may be trained there
_SAME_TIME = 0.05  # exits of different members that lie closer than this share of the run are one exit of the bag


def check_order(member: MemberGraph) -> None:
    """Raise ConfigError, naming the member's file and exit, unless its own exits are in depth order."""
    trunk = _nodes_before(member, PROBABILITIES)
    branches_before: set[str] = set()
    for number, name in enumerate(member.exits, start=1):
        branch = _nodes_before(member, name)
        if not (branch - branches_before) & trunk or not trunk - branch:
            raise ConfigError(
                f"{member.where}: exits: number {number} is computed no later than the one before it, or not before "
                "the end; name the outputs in depth order"
            )
        branches_before |= branch


def with_exit_boundaries(member: MemberGraph, costs: NodeCosts) -> MeasuredMember:
    """A member with its boundaries, those of its own exits, in depth order, among them.

    Raises:
        ConfigError: exits at which the member cannot be cut.
    """
    measured = MeasuredMember.of(member, costs)
    if not member.exits:
        return measured
    nodes_until = list(itertools.accumulate((_nodes_before(member, name) for name in member.exits), operator.or_))
    shares = [
        sum(costs.share.get(node, 0.0) for node in nodes) or 1e-6 * number
        for number, nodes in enumerate(nodes_until, start=1)
    ]
    whole = sum(costs.share.get(node, 0.0) for node in nodes_until[-1] | _nodes_before(member, PROBABILITIES)) or 1.0
    exit_places = [_own_boundary(member, costs, number, share / whole) for number, share in enumerate(shares)]
    return dataclasses.replace(measured, boundaries=(*measured.boundaries, *exit_places))


def _nodes_before(member: MemberGraph, value: str) -> set[str]:
    """Names of all nodes that a value depends on."""
    model = member.model.clone()
    model.graph.outputs[:] = [ir.convenience.create_value_mapping(model.graph, include_subgraphs=False)[value]]
    return {node.name or "" for node in lazy_order(model.graph, set())}


def _own_boundary(member: MemberGraph, costs: NodeCosts, number: int, share: float) -> Boundary:
    """The boundary at which an exit has been computed; its tensors are all that later exits and the end need."""
    model = member.model.clone()
    values = ir.convenience.create_value_mapping(model.graph, include_subgraphs=False)
    name = member.exits[number]
    model.graph.outputs[:] = [*(values[exit_] for exit_ in member.exits[number:]), *model.graph.outputs]
    places = boundaries(dataclasses.replace(member, model=model), costs)
    here = next(boundary for boundary in places if boundary.after == name)
    if here.usable:
        raise ConfigError(f"{member.where}: exits: cannot cut where number {number + 1} is computed: {here.usable}")
    tensors = tuple(tensor for tensor in here.tensors if tensor.name != name)
    own_bytes = max(0, here.bytes_per_row - 4 * member.classes)
    return dataclasses.replace(
        here, width=len(tensors), tensors=tensors, bytes_per_row=own_bytes, share=share, usable=_OWN
    )


def own_cuts(measured: MeasuredMember) -> tuple[Cut, ...]:
    """The cuts at a member's own exits, in depth order; none where it has none."""
    places = {boundary.after: boundary for boundary in measured.boundaries if boundary.usable == _OWN}
    return tuple(
        Cut(places[name], (), 0, own_exit=name, classes=measured.member.classes) for name in measured.member.exits
    )


def make_plan(members: Sequence[MeasuredMember], options: Cuts, classes: int, where: str) -> ExitPlan:
    """Exits at the members' own, the other members aligned with them.

    Args:
        members: at least one with exits of its own.
        options: the bag file's [cuts], for the others.
        classes: number of classes.
        where: the bag file, for messages.
    """
    exit_cuts = [own_cuts(member) for member in members]
    work_us = sum(member.costs.total_us for member in members)
    times = _voting_times_us(members, exit_cuts)
    prices = RampPrices(classes, options.times)
    warnings = [remark for member in members for remark in member.member.remarks]
    cuts = exit_cuts
    ramp_us = 0.0
    for grid in sorted(options.grid, reverse=True):
        cuts = [
            cut or _cuts_near(member, times, options, classes, grid)
            for member, cut in zip(members, exit_cuts, strict=True)
        ]
        ramp_us = _trained_ramps_us(cuts, prices)
        if ramp_us <= options.ramp_budget * work_us:
            break
    else:
        warnings.append(
            f"{where}: [cuts] ramp_budget = {options.ramp_budget}: the ramps of members without exits of their own "
            f"would add {ramp_us / work_us:.1%}; they vote when they have finished"
        )
        cuts, ramp_us = exit_cuts, 0.0
    exits = _align_depths(reached_times_us(members, cuts), times)
    used = [{depths[number] for depths in exits} for number in range(len(members))]
    cuts = [
        tuple(cut for d, cut in enumerate(member_cuts, start=1) if d in on)
        for member_cuts, on in zip(cuts, used, strict=True)
    ]
    exits = _align_depths(reached_times_us(members, cuts), times)
    return ExitPlan(tuple(map(tuple, cuts)), tuple(exits), ramp_us, work_us, tuple(warnings))


def _voting_times_us(members: Sequence[MeasuredMember], exit_cuts: Sequence[tuple[Cut, ...]]) -> list[float]:
    """Times at which the bag votes: those of all own exits; close ones of different members count as one."""
    whole = max(member.costs.total_us for member in members)
    events = sorted(
        (cut.boundary.share * measured_.costs.total_us, number)
        for number, (measured_, cuts) in enumerate(zip(members, exit_cuts, strict=True))
        for cut in cuts
    )
    groups: list[list[tuple[float, int]]] = []
    for time, number in events:
        last = groups[-1] if groups else []
        if last and time - last[0][0] <= _SAME_TIME * whole and all(number != other for _, other in last):
            last.append((time, number))
        else:
            groups.append([(time, number)])
    return [group[-1][0] for group in groups]


def _cuts_near(
    measured: MeasuredMember, times: Sequence[float], options: Cuts, classes: int, grid: int
) -> tuple[Cut, ...]:
    """Cuts of a member without exits of its own, near the times of the others' exits."""
    offered = candidates(list(measured.boundaries), options.max_cut_width)
    grids = [side for side in options.grid if side <= grid]
    placed = align.place_cuts(offered, measured.costs.total_us, times)
    return tuple(make_cut(measured.member, boundary, classes, grids) for boundary in placed)


def _trained_ramps_us(cuts: Sequence[Sequence[Cut]], prices: RampPrices) -> float:
    """Time that trained ramps add; exits of the members' own cost nothing more."""
    trained = [cut for member_cuts in cuts for cut in member_cuts if not cut.own_exit]
    return sum(prices.pooling_us(cut) + prices.heads_us([cut]) for cut in trained)


def _align_depths(reached_us: Sequence[Sequence[float]], times: Sequence[float]) -> list[tuple[int, ...]]:
    """Depths at each time, exactly as deep as reached: an own exit is never skipped for the next one."""
    return align.align(reached_us, [(1 + 1e-6) * time for time in times], late=0.0)
