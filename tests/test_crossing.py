"""Stages that end inside members: where they may, what crosses there, and what each call runs and brings."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from exeunt.bag_stages import BagStages, first_run
from exeunt.contract import bag_model, stage_model
from exeunt.crossing import can_cross, crossings
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest, Segment, Tensor
from tests.deciding.controller_bag import manifest
from tests.test_bag_stages import any_exits, pairs_of

X = Tensor("x", "float32", (2,))
ALONE = ((1,), (2,), (3,), (4,))
CASCADE = ((1, 0), (2, 0), (3, 0), (3, 1), (3, 2), (3, 3))


def cut(number: int) -> Tensor:
    return Tensor(f"CUT{number}_0", "float32", (3,))


def chained(depths, inner=(), **settings) -> Manifest:
    """A bag whose members' segments each read what the one before has made."""
    bag = manifest(depths, (1.0,) * len(depths[0]), **settings)
    members = tuple(
        dataclasses.replace(
            member,
            segments=tuple(
                Segment(segment.model, (cut(d) if d else X,), (cut(d + 1),), None, {1: 10.0})
                for d, segment in enumerate(member.segments)
            ),
        )
        for member in bag.members
    )
    return dataclasses.replace(bag, members=members, inner_stages=tuple(inner))


def all_inner(bag: Manifest) -> tuple[int, ...]:
    """Exits inside members at which stages may end together, from the first on."""
    depths = [exit_.depths for exit_ in bag.exits]
    inner: tuple[int, ...] = ()
    for number in range(len(depths) - 1):
        if can_cross(bag.inputs, bag.members, depths, (*inner, number)):
            inner = (*inner, number)
    return inner


@st.composite
def any_staged(draw):
    """A bag with some stages that end inside members, and exits that a ticket asks for."""
    bag = chained(draw(any_exits()))
    numbers = draw(st.sets(st.sampled_from(range(len(bag.exits)))))
    inner = tuple(number for number in all_inner(bag) if number in numbers)
    assume(can_cross(bag.inputs, bag.members, [exit_.depths for exit_ in bag.exits], inner))
    early = draw(st.lists(st.booleans(), min_size=len(bag.exits) - 1, max_size=len(bag.exits) - 1))
    return dataclasses.replace(bag, inner_stages=inner), np.array([*early, True])


def test_a_member_alone_can_be_left_at_every_cut():
    assert all_inner(chained(ALONE)) == (0, 1, 2)


def test_in_a_cascade_stages_end_after_members_and_inside_them():
    bag = chained(CASCADE, (0, 1, 3, 4))
    assert all_inner(bag) == bag.inner_stages and BagStages(bag).ends == (0, 1, 2, 3, 4, 5)


def test_no_stage_ends_where_a_member_waits_for_another_behind_the_cut():
    assert all_inner(chained(((1, 0), (1, 1), (2, 2)))) == (1,)


def test_no_stage_ends_where_the_next_does_not_read_what_crosses():
    bag = chained(((1,), (2,), (3,)))
    first, second, third = bag.members[0].segments
    far = dataclasses.replace(third, inputs=(cut(1), cut(2)))
    member = dataclasses.replace(bag.members[0], segments=(first, dataclasses.replace(second, inputs=(X,)), far))
    bag = dataclasses.replace(bag, members=(member,))
    assert all_inner(bag) == (0,)


def test_what_crosses_is_what_later_segments_read_of_earlier_ones():
    assert [one.name for one in crossings(chained(CASCADE).members, (3, 1))] == ["m1.CUT1_0"]


def test_a_tensor_that_is_read_twice_is_not_asked_for_again():
    bag = chained(ALONE, (0, 1))
    segments = list(bag.members[0].segments)
    segments[2] = dataclasses.replace(segments[2], inputs=(cut(1), cut(2)))
    bag = dataclasses.replace(bag, members=(dataclasses.replace(bag.members[0], segments=tuple(segments)),))
    stages = BagStages(bag)
    assert [one.name for one in stages.crossings(1)] == ["m0.CUT1_0", "m0.CUT2_0"]
    assert [one.name for one in stages.brought_back(0, 1)] == ["m0.CUT2_0"]


def test_a_ticket_makes_a_call_for_each_stage_each_of_its_own_ensemble():
    stages = BagStages(chained(CASCADE, (0, 3)))
    calls = stages.calls(np.ones(6, dtype=bool), staged=True)
    assert [call.tap_names for call in calls] == [["TAP_0"], ["TAP_1", "TAP_2"], ["TAP_3"], ["TAP_4", "TAP_5"]]
    assert [stages.model(call.start, call.end) for call in calls] == [
        stage_model("bag", None, 0),
        stage_model("bag", 0, None),
        stage_model("bag", None, 3),
        stage_model("bag", 3, None),
    ]


def test_outside_stages_one_call_of_the_bag_runs_everything():
    stages = BagStages(chained(CASCADE, (0, 3)))
    (call,) = stages.calls(np.ones(6, dtype=bool), staged=False)
    assert stages.model(call.start, call.end) == bag_model("bag") and stages.work_us(call) == stages.full_work_us


def test_feedback_runs_what_one_ensemble_can_in_one_call():
    stages = BagStages(chained(CASCADE, (0, 1, 3)))
    calls = stages.calls(np.ones(6, dtype=bool), staged=True)[1:]
    first, count = first_run(calls)
    assert (first.start, first.end, first.tap_names, count) == (0, None, ["TAP_1", "TAP_2"], 2)
    second, count = first_run(calls[count:])
    assert (second.start, second.end, second.tap_names, count) == (None, None, ["TAP_3", "TAP_4", "TAP_5"], 2)


@given(any_staged(), st.booleans())
def test_every_vote_of_a_wanted_exit_has_come_when_its_call_has_ended(case, staged):
    bag, wanted_exits = case
    come: set = set()
    taps: set = set()
    for call in BagStages(bag).calls(wanted_exits, staged):
        come |= call.pairs
        taps |= set(call.tap_names)
        for number, exit_ in enumerate(bag.exits):
            if wanted_exits[number] and f"TAP_{number}" in taps:
                assert pairs_of(exit_.depths) <= come
    assert pairs_of(bag.exits[-1].depths) <= come


@given(any_staged(), st.booleans())
def test_every_call_is_of_an_ensemble_that_has_its_taps_and_gets_its_inputs(case, staged):
    bag, wanted_exits = case
    stages = BagStages(bag)
    tensor_names: set = set()
    for call in stages.calls(wanted_exits, staged):
        assert (call.start, call.end) in stages.spans()
        first = 0 if call.start is None else call.start + 1
        exits = range(first, stages.last(call.start, call.end) + 1)
        if wanted_exits[:-1].any():
            assert set(call.tap_names) <= {f"TAP_{number}" for number in exits}
        assert {one.name for one in stages.crossings(call.start)} <= tensor_names
        tensor_names = {one.name for one in stages.crossings(call.end)}
        assert tensor_names <= {
            one.name for one in (*stages.brought_back(call.start, call.end), *stages.crossings(call.start))
        }


@given(any_staged())
def test_by_stages_no_segment_runs_twice(case):
    bag, _ = case
    stages = BagStages(bag)
    calls = stages.calls(np.ones(len(bag.exits), dtype=bool), staged=True)
    assert sum(stages.work_us(call) for call in calls) == stages.full_work_us


@given(any_staged(), st.integers(0, 20))
def test_joined_feedback_brings_what_its_calls_would(case, skipped):
    bag, wanted_exits = case
    calls = BagStages(bag).calls(wanted_exits, staged=True)
    remaining_calls = calls[min(skipped, len(calls) - 1) :]
    pairs = frozenset().union(*(call.pairs for call in remaining_calls))
    joined: frozenset = frozenset()
    while remaining_calls:
        call, count = first_run(remaining_calls)
        assert call.end is None and call.start == remaining_calls[0].start
        joined, remaining_calls = joined | call.pairs, remaining_calls[count:]
    assert joined == pairs


@pytest.mark.parametrize("inner", [(5,), (2,), (1, 0), (0, 0), (-1,), ("0",)])
def test_a_manifest_whose_stages_cannot_end_there_is_refused(inner):
    with pytest.raises(ConfigError, match="inner_stages"):
        chained(CASCADE, inner).check("manifest.json")


def test_what_is_learnt_does_not_depend_on_stages():
    assert chained(CASCADE, (0, 1)).content_hash == chained(CASCADE).content_hash
