"""Two lists of exits in one: when the second pays, and how they are joined."""

import numpy as np
import pytest
from hypothesis import given

from exeunt.deciding import votes
from exeunt.manifest import Member, Segment
from exeunt_export.planning.plan import ExitPlan
from exeunt_export.schedule.lean_gear import lean_gear_pays, merge_exits
from exeunt_export.schedule.schedule_bag import elapsed_us
from tests.engine.test_gears import chains
from tests.export.schedule.test_schedule import SEGMENTS_US, bag_of

FULL = (2, 3, 2)
SIDE_BY_SIDE = [(1, 1, 1), (1, 2, 1), (1, 2, 2), FULL]
CASCADE = [(2, 0, 0), (2, 0, 2), FULL]


@given(chains(FULL), chains(FULL))
def test_the_exits_of_each_gear_ascend_in_the_list_of_all_and_are_its_own(at_rest, lean):
    exits, gears = merge_exits(SEGMENTS_US, at_rest, lean)
    for gear, list_ in zip(gears, (at_rest, lean), strict=True):
        assert list(gear) == sorted(gear) and [exits[number] for number in gear] == list(list_)
    assert len(set(exits)) == len(exits) == len({*at_rest, *lean})


def test_a_cascade_pays_beside_members_side_by_side():
    assert lean_gear_pays(bag_of(2, skills=(1.0, 1.0, 1.0)), SIDE_BY_SIDE, CASCADE)


def test_a_cascade_does_not_pay_where_the_workers_are_two_threads_of_one_core():
    assert not lean_gear_pays(bag_of(2, skills=(1.0, 1.0, 1.0), slowdown=(1.0, 1.3)), SIDE_BY_SIDE, CASCADE)


def test_the_same_exits_once_more_do_not_pay():
    assert not lean_gear_pays(bag_of(2), CASCADE, CASCADE)


def test_a_gear_that_costs_much_more_within_the_promise_does_not_pay():
    evaluator = bag_of(2, skills=(1.0, 1.0, 1.0))
    assert not lean_gear_pays(evaluator, [(1, 0, 0), (2, 0, 0), FULL], [(2, 3, 0), FULL])


def test_a_label_is_certain_after_the_members_of_which_the_engine_says_so():
    evaluator = bag_of(1, skills=(2.0, 2.0, 2.0))
    inputs = evaluator.inputs
    finished = [inputs.probabilities[0, 2], inputs.probabilities[2, 2]]
    sure = votes.cannot_change(finished, [1 / 3, 1 / 3], 1 / 3, "soft")
    expected = np.where(sure, 100.0, 190.0).mean()
    assert 0 < sure.sum() < len(sure)
    assert evaluator.work_us([(2, 0, 2), FULL], certain=True) == expected


def test_the_exits_at_rest_are_reached_as_without_the_others_and_those_of_the_lean_gear_count_by_their_work():
    members = [
        Member(f"m{n}", 1.0, tuple(Segment("s", (), (), None, {1: us, 4: 4 * us}) for us in segments_us), None)
        for n, segments_us in enumerate(SEGMENTS_US)
    ]
    exits, gears = merge_exits(SEGMENTS_US, SIDE_BY_SIDE, CASCADE)
    plan = ExitPlan((), exits, 0.0, 0.0, (), gears=gears)
    alone = ExitPlan((), tuple(SIDE_BY_SIDE), 0.0, 0.0, ())
    for size in (1, 4):
        both, at_rest = (elapsed_us(members, of, size, workers=3) for of in (plan, alone))
        assert [both[number] for number in gears[0]] == at_rest
        assert [both[number] / at_rest[-1] for number in gears[1]] == pytest.approx([20 / 190, 100 / 190, 1.0])
