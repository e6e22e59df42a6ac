"""Cuts that no exit uses are undone: in ensemble mode each would be one more model to call, without any use."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

from exeunt_export.planning.plan import ExitPlan
from exeunt_export.ramps.train import MemberDepth

Value = TypeVar("Value")


def without_unused_cuts(plan: ExitPlan) -> ExitPlan:
    """The plan without cuts at which no exit has a member vote; `plan` itself where there are none."""
    cuts, exits = [], [list(depths) for depths in plan.exits]
    for member, member_cuts in enumerate(plan.cuts):
        new_depth = {0: 0, **_new_depths(plan, member)}
        cuts.append(tuple(member_cuts[depth - 1] for depth in new_depth if 0 < depth <= len(member_cuts)))
        for depths in exits:
            depths[member] = new_depth[depths[member]]
    if tuple(cuts) == plan.cuts:
        return plan
    return dataclasses.replace(plan, cuts=tuple(cuts), exits=tuple(map(tuple, exits)))


def renumber_depths(plan: ExitPlan, names: list[str], by_cut: Mapping[MemberDepth, Value]) -> dict[MemberDepth, Value]:
    """A table by (member, depth), with the depths that `without_unused_cuts` gives.

    Args:
        plan: as it was.
        names: of the members.
        by_cut: (member, depth) -> anything; entries of removed cuts are left out.
    """
    return {
        (name, new): by_cut[name, old]
        for member, name in enumerate(names)
        for old, new in _new_depths(plan, member).items()
        if (name, old) in by_cut
    }


def _new_depths(plan: ExitPlan, member: int) -> dict[int, int]:
    """Planned depth -> new depth of one member; the whole member always stays."""
    used = sorted({depths[member] for depths in plan.exits} - {0} | {len(plan.cuts[member]) + 1})
    return {old: new for new, old in enumerate(used, start=1)}
