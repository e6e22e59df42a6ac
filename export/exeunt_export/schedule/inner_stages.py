"""Ensemble mode: at which exits inside members a stage ends, because it saves more work than it costs.

Rows that leave at the end of such a stage skip the rest of the member. Rows that stay pay one more call, and a copy of
the cut tensors from one ensemble to the next. Both are weighed on the calibration rows: each leaves at the same exit as
when the schedule was judged, and of the answered rows the share that runs on as feedback is counted as staying.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from exeunt.crossing import Depths, can_cross, crossings, whole_ends
from exeunt.engine.exit_times import work_until_us
from exeunt.manifest import Member, Tensor
from exeunt.settings import Settings
from exeunt_export.planning.opening import OpenedBag
from exeunt_export.planning.plan import ExitPlan
from exeunt_export.ramps.train import MemberDepth
from exeunt_export.schedule.evaluate import ScheduleEvaluator
from exeunt_export.schedule.risk import latency_at_best_limit
from exeunt_export.schedule.schedule_bag import schedule_inputs

# of one row's crossing on a CPU server (benchmarks/results/stage_crossing.md); the controller's turn comes with it
CALL_US, US_PER_KB = 500.0, 1.5
FREE_DIM = 512  # what a dimension counts that the model leaves free
LEAST_SAVED = 0.03  # of the work of an answer, by all such stages together


def inner_stages(
    opened: OpenedBag, plan: ExitPlan, members: Sequence[Member], probabilities: Mapping[MemberDepth, np.ndarray]
) -> tuple[int, ...]:
    """Numbers of the exits inside members at which stages end, ascending; for the manifest.

    Args:
        opened: the bag; its file says where stages may end.
        plan: with its exits.
        members: with measured times.
        probabilities: (member, depth) -> float32 [samples, classes].
    """
    bag = opened.bag
    if bag.mode != "ensemble" or bag.schedule == "parallel" or bag.cuts.stages == "members":
        return ()
    places = candidates(opened.inputs, members, plan.exits)
    if bag.cuts.stages == "exits" or not places:
        return places
    segments_us = [[segment.cost_us[min(segment.cost_us)] for segment in member.segments] for member in members]
    inputs = dataclasses.replace(schedule_inputs(opened, plan, probabilities), segments_us=segments_us)
    stage_evaluator = StageEvaluator(
        ScheduleEvaluator(inputs), opened.inputs, members, plan.exits, feedback_share(bag.settings)
    )
    return stage_evaluator.best_exits(places)


def feedback_share(settings: Settings) -> float:
    """The share of answered rows that run on where work is scarce."""
    least = settings.least_finish_probability
    return least if settings.feedback in ("all", "auto") else max(float(settings.feedback), least)


def candidates(inputs: Sequence[Tensor], members: Sequence[Member], exits: Sequence[Depths]) -> tuple[int, ...]:
    """Exits inside members at which stages may end, all together."""
    whole, places = whole_ends(inputs, members, exits), tuple[int, ...]()
    for number in range(len(exits) - 1):
        if number not in whole and can_cross(inputs, members, exits, (*places, number)):
            places = (*places, number)
    return places


class StageEvaluator:
    """What the work of an answer is with stages that end at some exits inside members.

    Args:
        evaluator: judges exits on the calibration rows, by measured times.
        inputs: of the bag.
        members: of the bag.
        exits: depths by member.
        share: of answered rows that run on.
    """

    def __init__(
        self,
        evaluator: ScheduleEvaluator,
        inputs: Sequence[Tensor],
        members: Sequence[Member],
        exits: Sequence[Depths],
        share: float,
    ) -> None:
        self._inputs, self._members, self._exits, self._share = inputs, members, exits, share
        self._whole = whole_ends(inputs, members, exits)
        self._risks = evaluator.risks(exits)
        self._max_loss = evaluator.inputs.max_loss
        self._until_us = [work_until_us(evaluator.inputs.segments_us, depths) for depths in exits]

    def work_us(self, inner: Sequence[int]) -> float:
        """Expected work of an answer, what crossing costs included, with stages that also end at the exits `inner`."""
        ends = sorted({*self._whole, *inner})
        spent_us, crossed_us = [], 0.0
        for number in range(len(self._exits)):
            end = next(place for place in ends if place >= number)
            spent_us.append(self._until_us[end] + crossed_us)
            if number in inner:
                crossed_us += crossing_us(self._members, self._exits[number])
        leaves_us = np.array(spent_us)
        return latency_at_best_limit(
            *self._risks, (1.0 - self._share) * leaves_us + self._share * leaves_us[-1], self._max_loss
        )[0]

    def best_exits(self, places: Sequence[int]) -> tuple[int, ...]:
        """Those of some exits that together save most; none where they save less than LEAST_SAVED."""
        least_us = without_us = self.work_us(())
        inner_exits = tuple[int, ...]()
        while True:
            more = [tuple(sorted((*inner_exits, place))) for place in places if place not in inner_exits]
            more = [inner for inner in more if can_cross(self._inputs, self._members, self._exits, inner)]
            if not more or (now_us := self.work_us(best := min(more, key=self.work_us))) >= least_us:
                break
            inner_exits, least_us = best, now_us
        return inner_exits if least_us <= (1.0 - LEAST_SAVED) * without_us else ()


def crossing_us(members: Sequence[Member], depths: Depths) -> float:
    """What it costs a row to go on from some depths by another call, microseconds."""
    tensors = [one.tensor for one in crossings(members, depths)]
    sizes = [
        np.dtype(tensor.dtype).itemsize * math.prod(dim if dim > 0 else FREE_DIM for dim in tensor.dims)
        for tensor in tensors
    ]
    return CALL_US + US_PER_KB * sum(sizes) / 1024
