"""The exits of a bag: chosen, with their weights, from measured times and the calibration rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from exeunt.engine.exit_times import exit_times
from exeunt.engine.sessions import workers_of
from exeunt.manifest import Member
from exeunt_export import voting
from exeunt_export.planning.opening import OpenedBag
from exeunt_export.planning.plan import ExitPlan, reached_times_us
from exeunt_export.ramps.train import MemberDepth
from exeunt_export.schedule.choose import choose
from exeunt_export.schedule.evaluate import MOST_ROWS, ScheduleEvaluator, ScheduleInputs
from exeunt_export.schedule.lean_gear import lean_gear_pays, merge_exits

DECISION_US = 150.0  # what an exit costs beside its heads: votes, the tuner, the lock


def with_schedule(opened: OpenedBag, plan: ExitPlan, probabilities: Mapping[MemberDepth, np.ndarray]) -> ExitPlan:
    """The plan with the exits of the bag's schedule and the weights of their votes.

    Args:
        opened: the bag; nothing changes where no exits are wanted, nor in ensemble mode with members side by side.
        plan: with the exits of the parallel schedule.
        probabilities: (member, depth) -> float32 [samples, classes].
    """
    bag = opened.bag
    if not bag.cuts.exits or (bag.schedule == "parallel" and (bag.mode == "ensemble" or len(plan.exits) == 1)):
        return plan
    evaluator = ScheduleEvaluator(schedule_inputs(opened, plan, probabilities))
    # stages of ensemble mode end where whole members have, or inside the one that runs (inner_stages.py)
    kind = bag.schedule if bag.mode == "engine" else "cascade"
    exits = choose(kind, evaluator, plan.exits).exits
    best = evaluator.with_best_targets(exits)
    gears: tuple[tuple[int, ...], ...] = ()
    if kind == "auto":
        cascade = choose("cascade", evaluator, plan.exits).exits
        if lean_gear_pays(evaluator, exits, cascade):
            exits, gears = merge_exits(evaluator.inputs.segments_us, exits, cascade)
    return dataclasses.replace(
        plan,
        exits=exits,
        weights=tuple(evaluator.weights(depths) for depths in exits),
        targets=best.targets,
        works_ahead=best.works_ahead,
        gears=gears,
    )


def schedule_inputs(
    opened: OpenedBag, plan: ExitPlan, probabilities: Mapping[MemberDepth, np.ndarray]
) -> ScheduleInputs:
    """What schedules of a bag are judged by: its estimated times, and its votes on the calibration rows."""
    bag = opened.bag
    row_bytes = sum(array[0].nbytes for array in probabilities.values())
    rows = voting.spread_sample(opened.parts.calibration, MOST_ROWS, row_bytes)
    ends = reached_times_us(opened.members, plan.cuts)
    ramps = sum(len(member_cuts) for member_cuts in plan.cuts)
    return ScheduleInputs(
        segments_us=[np.diff([0.0, *member_ends]).tolist() for member_ends in ends],
        probabilities={
            (number, depth): probabilities[member.name, depth][rows]
            for number, (member, member_ends) in enumerate(zip(bag.members, ends, strict=True))
            for depth in range(1, len(member_ends) + 1)
        },
        weights=[member.weight for member in bag.members],
        vote=bag.vote,
        workers=workers_of(bag.settings) if bag.mode == "engine" else 1,  # stages come one after the other
        max_loss=bag.settings.max_loss,
        confidence=bag.settings.confidence,
        exit_us=DECISION_US + (plan.ramp_us / ramps if ramps else 0.0),
        most_exits=2 * bag.cuts.exits,
        slowdown=plan.slowdown,
    )


def elapsed_us(members: Sequence[Member], plan: ExitPlan, size: int, workers: int) -> list[float]:
    """When the engine reaches each exit with one ticket of `size` rows on an idle machine, microseconds.

    The lean gear is for a busy machine, so its exits count by work: an exit that needs a third of the full ensemble's
    work is reached after a third of the full ensemble's time.
    """
    segments_us = [[segment.cost_us[size] for segment in member.segments] for member in members]
    first, *others = plan.gears or (tuple(range(len(plan.exits))),)
    chain = [plan.exits[number] for number in first]
    if size > 1:  # a ticket is answered when its last row is: the engine works ahead, and towards all exits
        times = exit_times(segments_us, chain, workers, None, plan.slowdown)
    else:
        times = exit_times(segments_us, chain, workers, plan.targets or None, plan.slowdown, plan.works_ahead)
    elapsed = dict(zip(first, times, strict=True))
    for gear in others:
        work = exit_times(segments_us, [plan.exits[number] for number in gear], workers=1)
        elapsed = {number: us * times[-1] / work[-1] for number, us in zip(gear, work, strict=True)} | elapsed
    return [elapsed[number] for number in range(len(plan.exits))]
