"""Stages: what each call of NAME_bag runs and brings."""

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from exeunt.bag_stages import BagStages, ramp_pairs, tap_tensors
from exeunt.contract import TAP_FULL
from exeunt.manifest import Tensor
from tests.deciding.controller_bag import CLASSES, FEATURES, learning_manifest, manifest

CASCADE = ((1, 0, 0), (2, 0, 0), (2, 1, 0), (2, 3, 0), (2, 3, 2))
PARALLEL = ((1, 1, 1), (2, 2, 1), (2, 3, 2))


def staged(depths):
    return BagStages(manifest(depths=depths, weights=(1.0,) * len(depths[0])))


def pairs_of(depths):
    return {(member, depth) for member, depth in enumerate(depths) if depth}


@st.composite
def any_exits(draw):
    """Exits of a bag in an order that runs some member's next segment, or several."""
    full = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    now, exits = [0] * len(full), []
    while now != full:
        for member in draw(st.sets(st.sampled_from([m for m, d in enumerate(now) if d < full[m]]), min_size=1)):
            now[member] += 1
        if now == full or draw(st.booleans()):
            exits.append(tuple(now))
    return tuple(exits)


def test_a_stage_ends_where_every_member_has_finished_or_has_not_begun():
    assert staged(CASCADE).ends == (1, 3, 4)


def test_members_side_by_side_are_one_stage():
    stages = staged(PARALLEL)
    assert stages.ends == (2,)
    assert stages.full is stages.taps[-1]


def test_a_ticket_by_stages_makes_one_call_for_each():
    calls = staged(CASCADE).calls(np.ones(5, dtype=bool), staged=True)
    assert [call.tap_names for call in calls] == [["TAP_0", "TAP_1"], ["TAP_2", "TAP_3"], ["TAP_4"]]


def test_a_stage_at_whose_end_nobody_may_leave_shares_the_next_call():
    wanted_exits = np.array([True, False, True, True, True])
    assert len(staged(CASCADE).calls(wanted_exits, staged=True)) == 2


def test_a_ticket_that_wants_the_full_vote_only_asks_one_tap():
    (call,) = staged(CASCADE).calls(np.array([False] * 4 + [True]), staged=True)
    assert call.tap_names == [TAP_FULL]


def test_the_work_of_a_call_is_that_of_the_segments_it_needs():
    stages = staged(CASCADE)
    calls = stages.calls(np.ones(5, dtype=bool), staged=True)
    assert [stages.work_us(call) for call in calls] == [20.0, 30.0, 20.0]
    assert stages.full_work_us == 70.0


def test_a_stage_ends_only_where_members_before_and_after_take_all_inputs():
    bag = manifest(depths=((1, 0), (1, 1)), weights=(1.0, 1.0))
    other = Tensor("other", "float32", (2,))
    first, second = bag.members
    wider = dataclasses.replace(second.segments[0], inputs=(*second.segments[0].inputs, other))
    bag = dataclasses.replace(
        bag, inputs=(*bag.inputs, other), members=(first, dataclasses.replace(second, segments=(wider,)))
    )
    assert BagStages(bag).ends == (1,)


@given(any_exits(), st.data())
def test_every_vote_of_a_wanted_exit_has_come_when_its_call_has_ended(exits, data):
    stages = staged(exits)
    wanted_exits = np.array(
        [*data.draw(st.lists(st.booleans(), min_size=len(exits) - 1, max_size=len(exits) - 1)), True]
    )
    come: set = set()
    taps: set = set()
    for call in stages.calls(wanted_exits, data.draw(st.booleans())):
        come |= call.pairs
        taps |= set(call.tap_names)
        for number, depths in enumerate(exits):
            if wanted_exits[number] and f"TAP_{number}" in taps:
                assert pairs_of(depths) <= come
    assert pairs_of(exits[-1]) <= come


@given(any_exits())
def test_by_stages_no_segment_runs_twice(exits):
    stages = staged(exits)
    calls = stages.calls(np.ones(len(exits), dtype=bool), staged=True)
    assert sum(stages.work_us(call) for call in calls) == stages.full_work_us


def test_one_by_one_a_call_has_one_tap_and_all_votes_come_in_the_end():
    stages = staged(CASCADE)
    calls = stages.one_by_one(np.array([True, False, True, False, True]))
    assert [call.tap_names for call in calls] == [["TAP_0"], ["TAP_1"], ["TAP_2"], ["TAP_3"], ["TAP_4"]]
    assert pairs_of(CASCADE[-1]) <= {pair for call in calls for pair in call.pairs}


def test_one_by_one_exits_that_nobody_wants_are_not_asked_for():
    calls = staged(PARALLEL).one_by_one(np.array([False, True, True]))
    assert [call.tap_names for call in calls] == [["TAP_1"], ["TAP_2"]]


@given(any_exits(), st.data())
def test_where_ramps_learn_a_finished_ticket_has_brought_the_features_at_every_ramp(exits, data):
    bag = learning_manifest(exits)
    stages = BagStages(bag)
    wanted_exits = np.array(
        [*data.draw(st.lists(st.booleans(), min_size=len(exits) - 1, max_size=len(exits) - 1)), True]
    )
    calls = data.draw(
        st.sampled_from(
            [stages.calls(wanted_exits, True), stages.calls(wanted_exits, False), stages.one_by_one(wanted_exits)]
        )
    )
    assert ramp_pairs(bag) <= {pair for call in calls for pair in call.pairs}


def test_where_ramps_learn_each_call_runs_the_segments_it_would_run_anyway():
    learns, other = BagStages(learning_manifest(CASCADE)), staged(CASCADE)
    wanted_exits = np.ones(5, dtype=bool)
    work = [[stages.work_us(call) for call in stages.calls(wanted_exits, True)] for stages in (learns, other)]
    assert work[0] == work[1] and learns.work_us(learns.full_call()) == other.full_work_us


def test_taps_bring_features_at_ramps_and_votes_of_finished_members():
    tensors = tap_tensors(learning_manifest(((1, 0), (2, 1))))
    assert {pair: (tensor.name, tensor.dims) for pair, tensor in tensors.items()} == {
        (0, 1): ("m0.1.features", (FEATURES,)),
        (0, 2): ("m0.2", (CLASSES,)),
        (1, 1): ("m1.1", (CLASSES,)),
    }


def test_where_ramps_do_not_learn_taps_bring_votes_alone():
    tensors = tap_tensors(manifest(((1, 0), (2, 1)), (1.0, 1.0)))
    assert [tensor.name for tensor in tensors.values()] == ["m0.1", "m0.2", "m1.1"]
