"""Choosing a schedule: at which states of the members there is an exit.

`parallel` has the exits at which members that run side by side have come equally far. `cascade` takes whole members one
after another, in the order that lets most rows leave for the time it takes; `auto` searches all orders of segments.
Both have an exit after every finished member, cut or not: a whole member is the strongest early exit there is. Of the
exits in between, at ramps, those that save least are left out. Everything is judged on held-out calibration rows: rows
leave where the risk of the exit's vote is below one common limit, the highest one that keeps the loss.
"""

from __future__ import annotations

from collections.abc import Sequence

from exeunt.engine.exit_times import Depths
from exeunt_export.schedule.evaluate import Schedule, ScheduleEvaluator
from exeunt_export.schedule.paths import LIMITS, after_finished_members, beam, cascades, path_of


def choose(kind: str, evaluator: ScheduleEvaluator, aligned: Sequence[Depths]) -> Schedule:
    """The best schedule of a kind.

    Args:
        kind: "parallel", "cascade" or "auto"; the last also considers what the other two would give.
        evaluator: judges exits by costs and calibration rows.
        aligned: exits of the parallel schedule.
    """
    if kind == "parallel":
        return evaluator.with_all_targets(aligned)
    paths = cascades(evaluator)
    if kind == "auto":
        inputs = evaluator.inputs
        paths += [path_of(inputs, steps) for limit in LIMITS for steps in beam(evaluator, limit)[:2]]
        paths.append(side_by_side(inputs.segments_us, aligned))
    schedules = [evaluator.prune(path, after_finished_members(path, evaluator.inputs.full)) for path in paths]
    return min(schedules, key=lambda schedule: schedule.latency_us)


def side_by_side(segments_us: Sequence[Sequence[float]], aligned: Sequence[Depths]) -> list[Depths]:
    """The parallel schedule with an exit whenever a member has finished.

    Args:
        segments_us: per member the time of each segment.
        aligned: exits of the parallel schedule.
    """
    ends = [[sum(times_us[: depth + 1]) for depth in range(len(times_us))] for times_us in segments_us]
    states = {tuple(sum(us <= member_ends[-1] for us in other) for other in ends) for member_ends in ends}
    path: list[Depths] = []
    for depths in sorted(states | set(aligned), key=lambda depths: (sum(depths), depths)):
        if not path or all(before <= now for before, now in zip(path[-1], depths, strict=True)):
            path.append(depths)
    return path
