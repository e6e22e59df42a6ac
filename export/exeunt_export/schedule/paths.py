"""Paths through the states of a bag: from "nothing has run" to the full ensemble, one segment at a time.

A state is a depth for each member; every state on a path may be an exit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from exeunt.engine.exit_times import Depths
from exeunt_export.schedule.evaluate import ScheduleEvaluator, ScheduleInputs

BEAM = 24  # paths kept per step
MOST_STATES = 1000  # states that a beam may look at, about: it is narrower where bags are large
LIMITS = (0.01, 0.03, 0.1, 0.2)  # risks below which rows leave while the beam searches
MOST_ORDERS = 4  # members of which all orders are tried; of larger bags a beam finds the best


def path_of(inputs: ScheduleInputs, steps: Sequence[int]) -> list[Depths]:
    """The states that come after each step; a step names the member whose next segment runs."""
    depths = [0] * len(inputs.segments_us)
    states = []
    for member in steps:
        depths[member] += 1
        states.append(tuple(depths))
    return states


def after_finished_members(path: Sequence[Depths], full: Depths) -> set[Depths]:
    """The states of a path at which a member has just finished, the last apart."""
    states, finished = set(), 0
    for depths in path:
        count = sum(depth == whole for depth, whole in zip(depths, full, strict=True))
        if count > finished and depths != full:
            states.add(depths)
        finished = count
    return states


def cascades(evaluator: ScheduleEvaluator) -> list[list[Depths]]:
    """Paths that take whole members one after another: all orders of few members, the promising ones of many."""
    inputs = evaluator.inputs
    if len(inputs.members) <= MOST_ORDERS:
        orders = list(permutations(inputs.members))
    else:
        whole = ScheduleEvaluator(_as_uncut(inputs))
        orders = [steps for limit in LIMITS for steps in beam(whole, limit)[:2]]
    return [
        path_of(inputs, [member for member in order for _ in inputs.segments_us[member]])
        for order in dict.fromkeys(orders)
    ]


def _as_uncut(inputs: ScheduleInputs) -> ScheduleInputs:
    """The bag as if no member were cut."""
    return replace(
        inputs,
        segments_us=[[sum(times_us)] for times_us in inputs.segments_us],
        probabilities={(m, 1): inputs.probabilities[m, inputs.full[m]] for m in inputs.members},
    )


@dataclass(frozen=True, slots=True)
class _PartialPath:
    """A path that has come some way.

    Attributes:
        steps: members whose next segment ran, in order.
        depths: the state.
        workers_us: when each worker is free.
        members_us: when each member has run so far.
        now_us: when the state is reached.
        has_left: bool [rows], answered at or before the state.
        spent_us: summed time, over rows that have left, of their answers.
    """

    steps: tuple[int, ...]
    depths: Depths
    workers_us: tuple[float, ...]
    members_us: tuple[float, ...]
    now_us: float
    has_left: np.ndarray
    spent_us: float


def beam(evaluator: ScheduleEvaluator, limit: float) -> list[tuple[int, ...]]:
    """Steps of the best paths, at a fixed limit on the risk, best first."""
    inputs = evaluator.inputs
    rows, count, steps = len(evaluator.full), len(inputs.full), sum(inputs.full)
    width = min(BEAM, max(2, MOST_STATES // (steps * count)))
    work_us = sum(sum(times_us) for times_us in inputs.segments_us)
    end_us = max(work_us / inputs.workers, max(sum(times_us) for times_us in inputs.segments_us))
    start = _PartialPath(
        (), (0,) * count, (0.0,) * inputs.workers, (0.0,) * count, 0.0, np.zeros(rows, dtype=bool), 0.0
    )

    def expected_us(path: _PartialPath) -> float:
        return path.spent_us + float((~path.has_left).sum()) * max(end_us, path.now_us)

    paths = [start]
    for _ in range(steps):
        longer = [
            _with_segment(evaluator, path, m, limit)
            for path in paths
            for m in range(count)
            if path.depths[m] < inputs.full[m]
        ]
        paths = []
        path_keys: set[tuple[Depths, int]] = set()
        for path in sorted(longer, key=expected_us):
            key = path.depths, int(path.has_left.sum())
            if key not in path_keys and len(paths) < width:
                path_keys.add(key)
                paths.append(path)
    return [path.steps for path in paths]


def _with_segment(evaluator: ScheduleEvaluator, path: _PartialPath, member: int, limit: float) -> _PartialPath:
    """One more segment, started in order on the first free worker."""
    inputs = evaluator.inputs
    segment_us = inputs.segments_us[member][path.depths[member]]
    workers = sorted(path.workers_us)
    done_us = max(workers[0], path.members_us[member]) + segment_us
    now_us = max(path.now_us, done_us) + inputs.exit_us
    depths = tuple(depth + (number == member) for number, depth in enumerate(path.depths))
    leaves = ~path.has_left & (evaluator.judge_state(depths)[0] < limit) if depths != inputs.full else ~path.has_left
    return _PartialPath(
        steps=(*path.steps, member),
        depths=depths,
        workers_us=(done_us, *workers[1:]),
        members_us=tuple(done_us if m == member else us for m, us in enumerate(path.members_us)),
        now_us=now_us,
        has_left=path.has_left | leaves,
        spent_us=path.spent_us + float(leaves.sum()) * now_us,
    )
