"""At which exits inside members stages end: only where it saves work, the cost of crossing included."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.crossing import can_cross, whole_ends
from exeunt.settings import Settings
from exeunt_export.schedule.inner_stages import (
    CALL_US,
    LEAST_SAVED,
    StageEvaluator,
    candidates,
    crossing_us,
    feedback_share,
)
from tests.export.schedule.test_schedule import bag_of
from tests.test_bag_stages import any_exits
from tests.test_crossing import X, chained, cut

ALONE = ((1,), (2,), (3,), (4,))
SURE, UNSURE = (2.0,), (0.0,)


def weighed(depths, segment_us, skills, share=0.1, seed=0, max_loss=0.02):
    segments_us = [[segment_us] * count for count in depths[-1]]
    evaluator = bag_of(skills=skills, segments_us=segments_us, seed=seed, rows=200)
    evaluator.inputs = dataclasses.replace(evaluator.inputs, max_loss=max_loss)
    return StageEvaluator(evaluator, (X,), chained(depths).members, depths, share)


def test_a_member_of_many_milliseconds_whose_ramps_are_sure_is_left_inside():
    stages = weighed(ALONE, 5000.0, SURE)
    inner = stages.best_exits((0, 1, 2))
    assert inner and stages.work_us(inner) <= (1.0 - LEAST_SAVED) * stages.work_us(())


def test_a_member_that_costs_less_than_feedback_calls_is_not():
    assert weighed(ALONE, CALL_US / 40, SURE).best_exits((0, 1, 2)) == ()


def test_a_member_whose_ramps_know_nothing_is_not():
    assert weighed(ALONE, 5000.0, UNSURE, max_loss=0.0).best_exits((0, 1, 2)) == ()


def test_where_all_answered_rows_run_on_there_is_nothing_to_save():
    assert weighed(ALONE, 5000.0, SURE, share=1.0).best_exits((0, 1, 2)) == ()


@settings(max_examples=40, deadline=None)
@given(any_exits(), st.sampled_from([100.0, 1000.0, 10000.0]), st.floats(0.0, 1.0), st.integers(0, 3))
def test_what_is_chosen_can_be_and_never_costs_more_than_whole_members(depths, segment_us, share, seed):
    bag = chained(depths)
    places = candidates((X,), bag.members, depths)
    stages = weighed(depths, segment_us, (1.0,) * len(depths[-1]), share, seed)
    inner = stages.best_exits(places)
    assert list(inner) == sorted(set(inner)) and set(inner) <= set(places)
    assert can_cross((X,), bag.members, depths, inner)
    assert not inner or stages.work_us(inner) <= (1.0 - LEAST_SAVED) * stages.work_us(())


@settings(max_examples=40, deadline=None)
@given(any_exits())
def test_candidates_are_no_ends_of_whole_members_and_possible_together(depths):
    bag = chained(depths)
    places = candidates((X,), bag.members, depths)
    assert not set(places) & set(whole_ends((X,), bag.members, depths))
    assert can_cross((X,), bag.members, depths, places)


def test_a_large_tensor_costs_more_to_cross():
    small, (member,) = chained(ALONE), chained(ALONE).members
    first, *others = member.segments
    wide = dataclasses.replace(cut(1), dims=(256, 1024))
    second = dataclasses.replace(others[0], inputs=(wide,))
    large = dataclasses.replace(member, segments=(dataclasses.replace(first, outputs=(wide,)), second, *others[1:]))
    assert crossing_us([large], (1,)) > crossing_us(small.members, (1,)) + 1000.0


@pytest.mark.parametrize(("feedback", "share"), [("all", 0.1), ("auto", 0.1), (0.5, 0.5), (1.0, 1.0)])
def test_feedback_counts_as_where_work_is_scarce(feedback, share):
    assert feedback_share(Settings(feedback=feedback)) == share


def test_work_counts_what_leavers_have_run_and_what_crossing_costs():
    stages = weighed(ALONE, 1000.0, SURE, share=0.0, max_loss=1.0)
    everybody_at_once = 1000.0
    assert stages.work_us((0,)) == pytest.approx(everybody_at_once)
    assert stages.work_us(()) == pytest.approx(4000.0)
    assert np.isfinite(stages.work_us((0, 1, 2)))
