"""When each exit is reached in ensemble mode: stages run one after another, the members of a stage side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from exeunt.bag_stages import stage_ends
from exeunt.engine.exit_times import Depths
from exeunt.manifest import Member, Tensor
from exeunt_export.planning import align


def elapsed_us(inputs: Sequence[Tensor], members: Sequence[Member], exits: Sequence[Depths], size: int) -> list[float]:
    """Time from the start until each exit, one call with `size` rows alone, microseconds."""
    reached = [list(accumulate(segment.cost_us[size] for segment in member.segments)) for member in members]
    ends = stage_ends(inputs, members, exits)
    elapsed: list[float] = []
    finished: Depths = (0,) * len(members)
    begun_us = 0.0  # of the present stage
    for number, depths in enumerate(exits):
        own = [0 if depth == done else depth for depth, done in zip(depths, finished, strict=True)]
        elapsed.append(begun_us + align.elapsed(reached, own))
        if number in ends:
            finished, begun_us = depths, elapsed[-1]
    return elapsed
