"""Cuts that no exit uses are taken back, and everything known by depth follows."""

import pytest

from exeunt_export.planning.plan import ExitPlan
from exeunt_export.schedule.unused_cuts import renumber_depths, without_unused_cuts


def planned(cuts, exits):
    """A plan; cuts are named by letters, since nobody looks into them here."""
    return ExitPlan(cuts, exits, ramp_us=1.0, work_us=10.0, warnings=())


PARTLY = planned((("a", "b"), ("c",), ()), ((0, 0, 1), (2, 0, 1), (3, 0, 1), (3, 2, 1)))


def test_a_plan_that_uses_all_its_cuts_stays_as_it_is():
    plan = planned((("a", "b"), ("c",)), ((1, 0), (2, 1), (3, 2)))
    assert without_unused_cuts(plan) is plan


def test_cuts_without_an_exit_go_and_depths_move_up():
    plan = without_unused_cuts(PARTLY)
    assert plan.cuts == (("b",), (), ())
    assert plan.exits == ((0, 0, 1), (1, 0, 1), (2, 0, 1), (2, 1, 1))


@pytest.mark.parametrize(("name", "expected"), [("x", {1: "b", 2: "full"}), ("y", {1: "full"}), ("z", {1: "full"})])
def test_what_is_known_by_depth_moves_with_it(name, expected):
    by_cut = {("x", 1): "a", ("x", 2): "b", ("x", 3): "full", ("y", 1): "c", ("y", 2): "full", ("z", 1): "full"}
    moved = renumber_depths(PARTLY, ["x", "y", "z"], by_cut)
    assert {depth: value for (member, depth), value in moved.items() if member == name} == expected


def test_ramps_of_whole_members_are_not_invented():
    assert renumber_depths(PARTLY, ["x", "y", "z"], {("x", 1): "a", ("x", 2): "b"}) == {("x", 1): "b"}
