"""The lean gear: a second list of exits, for a machine that has more to do than it can.

Near capacity the least work per answer counts, not the least latency of one answer. And once the error budget is spent
rows leave only where the label cannot change any more, which takes whole members. A cascade is best at both. Where it
saves enough work against the schedule that is best at rest, the bag gets its exits beside the others.
"""

from __future__ import annotations

from collections.abc import Sequence

from exeunt.engine.exit_times import Depths, slowed, work_until_us
from exeunt_export.schedule.evaluate import ScheduleEvaluator

LEAST_CORES = 2.0  # of work at a time: with less the two gears differ too little (benchmarks/results/gears.md)
LEAST_SAVED = 0.05  # of the work of an answer, within the promise or by certain stops only
MOST_MORE = 0.1  # work that it may cost more within the promise if it saves by certain stops, or the other way round


def lean_gear_pays(evaluator: ScheduleEvaluator, at_rest: Sequence[Depths], cascade: Sequence[Depths]) -> bool:
    """Whether the exits of a cascade save enough work to be worth having beside those that are best at rest."""
    inputs = evaluator.inputs
    if inputs.workers / slowed(inputs.slowdown, inputs.workers) < LEAST_CORES:
        return False
    ratios = [
        evaluator.work_us(cascade, certain) / max(evaluator.work_us(at_rest, certain), 1e-9)
        for certain in (False, True)
    ]
    return min(ratios) <= 1.0 - LEAST_SAVED and max(ratios) <= 1.0 + MOST_MORE


def merge_exits(
    segments_us: Sequence[Sequence[float]], at_rest: Sequence[Depths], lean: Sequence[Depths]
) -> tuple[tuple[Depths, ...], tuple[tuple[int, ...], ...]]:
    """(exits of both lists in one, numbers of each list's exits in it), so that each list's numbers ascend.

    Args:
        segments_us: per member the time of each segment.
        at_rest: exits that only go deeper, the last the full ensemble.
        lean: the same.
    """
    exits = tuple(sorted({*at_rest, *lean}, key=lambda depths: (work_until_us(segments_us, depths), depths)))
    return exits, tuple(tuple(exits.index(depths) for depths in list_) for list_ in (at_rest, lean))
