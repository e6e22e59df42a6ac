from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt_export.cutting.cuts import Boundary
from exeunt_export.planning.align import align, place_cuts, wanted_times
from exeunt_export.planning.plan import fit_budget
from exeunt_export.planning.refine import move_shares

increasing = st.lists(st.floats(1, 1000), min_size=1, max_size=6, unique=True).map(sorted)


def elapsed(reached_us, depths):
    """When all members have reached the depths of an exit, side by side."""
    return max((times[depth - 1] for times, depth in zip(reached_us, depths, strict=True) if depth), default=0.0)


def boundary(share: float, width: int = 1, bytes_per_row: int = 100) -> Boundary:
    return Boundary(f"at {share}", "Relu", width, (), bytes_per_row, share, "")


def test_wanted_times_split_the_run_evenly() -> None:
    assert wanted_times(100, 3) == [25, 50, 75]


def test_every_member_stands_at_the_deepest_cut_it_has_reached() -> None:
    slow, fast, uncut = [25, 50, 75, 100], [24, 40], [60]
    assert align([slow, fast, uncut], [25, 50, 75]) == [(1, 1, 0), (2, 2, 1 - 1), (3, 2, 1), (4, 2, 1)]


def test_a_member_a_little_late_still_counts() -> None:
    assert align([[30, 100]], [25, 50, 75])[0] == (1,)
    assert align([[32, 100]], [25, 50, 75])[0] == (1,)


def test_exits_that_differ_in_nobody_are_left_out() -> None:
    assert align([[10, 100]], [25, 50, 75]) == [(1,), (2,)]


def test_a_bag_of_members_without_cuts_exits_as_they_finish() -> None:
    assert align([[30], [100]], [25, 50, 75]) == [(1, 0), (1, 1)]


def test_without_wanted_times_only_the_full_ensemble_is_left() -> None:
    assert align([[10, 100], [50]], []) == [(2, 1)]


@given(reached=st.lists(increasing, min_size=1, max_size=4), exits=st.integers(0, 6))
def test_depths_never_fall_and_the_last_exit_is_full(reached: list[list[float]], exits: int) -> None:
    exit_depths = align(reached, wanted_times(max(times[-1] for times in reached), exits))
    assert exit_depths[-1] == tuple(len(times) for times in reached)
    assert len(set(exit_depths)) == len(exit_depths) <= exits + 1
    assert all(a <= b for one, two in pairwise(exit_depths) for a, b in zip(one, two, strict=True))
    times = [elapsed(reached, depths) for depths in exit_depths]
    assert times == sorted(times)


@given(
    shares=st.lists(st.floats(0.02, 0.98), max_size=12, unique=True).map(sorted),
    member_us=st.floats(20, 1000),
    exits=st.integers(1, 6),
)
def test_every_placed_cut_serves_some_exit(shares: list[float], member_us: float, exits: int) -> None:
    exit_times_us = wanted_times(1000, exits)
    placed = place_cuts([boundary(share) for share in shares], member_us, exit_times_us)
    reached = [[*(boundary_.share * member_us for boundary_ in placed), member_us], [1000.0]]
    first_depths = {depths[0] for depths in align(reached, exit_times_us)}
    assert set(range(1, len(placed) + 1)) <= first_depths


def test_the_nearest_boundary_is_taken() -> None:
    placed = place_cuts([boundary(0.2), boundary(0.26), boundary(0.5)], 100, [25, 50, 75])
    assert [boundary_.share for boundary_ in placed] == [0.26, 0.5]


def test_a_narrower_boundary_almost_as_near_is_preferred() -> None:
    assert place_cuts([boundary(0.25, width=2), boundary(0.27)], 100, [25, 50, 75])[0].width == 1


def test_a_smaller_boundary_almost_as_near_is_preferred() -> None:
    assert place_cuts([boundary(0.25, 1, 800), boundary(0.26, 1, 100)], 100, [25, 50, 75])[0].bytes_per_row == 100


def test_a_tensor_with_fewer_readers_almost_as_near_is_preferred() -> None:
    skip, inner = replace(boundary(0.25), readers=9), boundary(0.27)
    assert place_cuts([skip, inner], 100, [25, 50, 75])[0] == inner


def test_a_fast_member_gets_no_cut_after_its_end() -> None:
    assert len(place_cuts([boundary(item / 10) for item in range(1, 10)], 50, [25, 50, 75])) == 1


def test_the_budget_buys_as_many_exits_as_it_pays_for() -> None:
    assert fit_budget(lambda exits, grid: 10.0 * exits, 25, 4, (4, 2, 1)) == (2, 4)


def test_a_coarser_grid_is_taken_before_an_exit_is_given_up() -> None:
    assert fit_budget(lambda exits, grid: exits * grid, 4, 3, (4, 2, 1)) == (3, 1)


def test_a_coarser_grid_that_saves_little_is_not_taken() -> None:
    assert fit_budget(lambda exits, grid: 10.0 * exits + 0.1 * grid, 30.2, 3, (4, 2, 1)) == (2, 4)


def test_a_budget_too_small_for_one_exit_buys_none() -> None:
    assert fit_budget(lambda exits, grid: 10.0 * exits, 5, 3, (4, 2, 1))[0] == 0


def test_shares_move_along_the_measured_times() -> None:
    moved = move_shares([boundary(0.25), boundary(0.5), boundary(0.75)], [0, 0.5, 1], [0, 80, 100])
    assert [boundary_.share for boundary_ in moved] == pytest.approx([0.4, 0.8, 0.9])
