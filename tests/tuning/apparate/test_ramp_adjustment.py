"""Ramp adjustment: figure 11's bounds, utilities by hand, trials, probing, and the budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.manifest import Costs
from exeunt.tuning.apparate.ramp_adjustment import (
    RampSet,
    adjust,
    best_candidate,
    bound_rate,
    first_set,
    intervals,
    probe,
    utilities,
)
from exeunt.tuning.evidence import Evidence


def costs(exits: int, head_us: float) -> Costs:
    """Exits 100 us apart, every ramp equally dear."""
    head = np.full(exits, head_us)
    head[-1] = 0.0
    return Costs(np.arange(1, exits + 1) * 100.0, head)


def ramp_set(exits: int, thresholds: dict[int, float]) -> RampSet:
    active, values = np.zeros(exits, dtype=bool), np.zeros(exits)
    active[[*thresholds, exits - 1]] = True
    for position, threshold in thresholds.items():
        values[position] = threshold
    values[-1] = np.nan
    return RampSet(active, values)


def evidence(errors: np.ndarray) -> Evidence:
    return Evidence(errors, np.zeros(errors.shape, dtype=bool), np.ones(len(errors)))


def leaving(exits: int, shares: dict[int, int]) -> Evidence:
    """100 rows, `shares[exit]` of which leave there at threshold 0.5."""
    errors = np.full((100, exits), 0.9)
    start = 0
    for exit_, count in shares.items():
        errors[start : start + count, exit_] = 0.1
        start += count
    return evidence(errors)


def never_tuned(active: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(active)) < len(active) - 1, 0.0, np.nan)


def test_figure_11s_range_is_split_at_the_removed_ramps() -> None:
    assert intervals(3, [7, 9], range(12)) == [[4, 5, 6], [8], [10, 11]]


def test_figure_11s_bounds_follow_the_rule_of_the_text() -> None:
    removed = {7: 0.05, 9: 0.10}
    assert [bound_rate(candidate, removed) for candidate in (5, 8, 10)] == pytest.approx([0.05, 0.15, 0.15])


def test_figure_11_adds_the_candidate_of_highest_bounded_utility() -> None:
    twelve = costs(13, head_us=5.0)  # positions 0..11 and the full model
    added_exit = best_candidate(intervals(3, [7, 9], range(12)), {7: 0.05, 9: 0.10}, 0.95, twelve, room_us=100.0)
    # candidate 5: .05 * 700 - .90 * 5 = 30.5; candidate 8: .15 * 400 - .80 * 5 = 56; candidate 10: .15 * 200 - 4 = 26
    assert added_exit == 8


def test_figure_11_as_a_round_replaces_both_negative_ramps_by_one_trial() -> None:
    twelve = costs(13, head_us=80.0)
    now = ramp_set(13, {3: 0.5, 7: 0.5, 9: 0.5})
    rows = leaving(13, {3: 40, 7: 5, 9: 10})
    # 3: 40 * 900 - 60 * 80 > 0; 7: 5 * 500 - 55 * 80 < 0; 9: 10 * 300 - 45 * 80 < 0
    after = adjust(rows, twelve, now, budget_us=1000.0, tune=lambda active: now.thresholds)
    assert after.ramps.tolist() == [3, 8]
    assert after.thresholds[3] == 0.5 and after.thresholds[8] == 0.0


def test_later_candidates_are_tried_while_no_utility_is_positive() -> None:
    three = Costs(np.array([1.0, 2.0, 3.0, 4.0, 5.0]) * 100, np.array([0.0, 900.0, 1.0, 1.0, 0.0]))
    assert best_candidate([[0, 1, 2, 3]], {4: 0.5}, 1.0, three, room_us=1000.0) == 2
    assert best_candidate([[1]], {4: 0.5}, 1.0, three, room_us=1000.0) is None


def test_a_candidate_beyond_the_budget_is_passed_over() -> None:
    assert best_candidate([[0]], {1: 0.5}, 1.0, costs(3, head_us=10.0), room_us=9.0) is None


def test_utility_is_latency_avoided_less_ramp_time_on_rows_that_passed() -> None:
    rows = leaving(4, {0: 20, 1: 30})
    values = utilities(rows, costs(4, head_us=10.0), ramp_set(4, {0: 0.5, 1: 0.5}))
    assert values[:2].tolist() == [20 * 300 - 80 * 10, 30 * 200 - 50 * 10]
    assert np.isnan(values[2:]).all()


def test_a_negative_ramp_is_kept_if_one_tuning_makes_it_pay() -> None:
    rows = leaving(4, {0: 20, 1: 30})
    now = ramp_set(4, {0: 0.5, 1: 0.0})
    opened = np.array([0.5, 0.5, 0.0, np.nan])
    after = adjust(rows, costs(4, head_us=10.0), now, budget_us=100.0, tune=lambda active: opened)
    assert after.ramps.tolist() == [0, 1] and after.thresholds[1] == 0.5


def test_tuning_that_loses_savings_is_not_accepted() -> None:
    rows = leaving(4, {0: 70, 1: 3})
    now = ramp_set(4, {0: 0.5, 1: 0.5})  # ramp 1: 3 * 200 - 27 * 40 < 0
    closed = np.array([0.0, 0.95, 0.0, np.nan])  # everybody leaves at 1: positive, but slower
    after = adjust(rows, costs(4, head_us=40.0), now, budget_us=100.0, tune=lambda active: closed)
    assert after.thresholds[0] == 0.5 and not after.active[1]


def test_one_ramp_that_never_pays_does_not_take_the_others_with_it() -> None:
    rows = leaving(4, {1: 80})
    opened = np.array([0.5, 0.5, 0.0, np.nan])
    after = adjust(rows, costs(4, 5.0), ramp_set(4, {0: 0.0, 1: 0.0}), budget_us=10.0, tune=lambda active: opened)
    assert after.active[1] and after.thresholds[1] == 0.5 and not after.active[0]


def test_all_positive_ramps_get_a_newcomer_before_the_best_one() -> None:
    rows = leaving(6, {2: 50, 4: 20})
    now = ramp_set(6, {2: 0.5, 4: 0.5})
    after = adjust(rows, costs(6, head_us=1.0), now, budget_us=3.0, tune=never_tuned)
    assert after.ramps.tolist() == [1, 2, 4] and after.thresholds[1] == 0.0


def test_without_budget_the_worst_ramp_moves_one_position_earlier() -> None:
    rows = leaving(6, {2: 50, 4: 20})
    now = ramp_set(6, {2: 0.5, 4: 0.5})
    after = adjust(rows, costs(6, head_us=1.0), now, budget_us=2.0, tune=never_tuned)
    assert after.ramps.tolist() == [2, 3] and after.thresholds[[2, 3]].tolist() == [0.5, 0.0]


def test_the_best_ramp_alone_stays_where_it_is_without_budget() -> None:
    now = ramp_set(4, {1: 0.5})
    assert probe(now, np.array([np.nan, 9.0, np.nan, np.nan]), costs(4, 1.0), budget_us=1.0) is now


def test_a_round_without_any_ramp_starts_over() -> None:
    after = adjust(leaving(4, {}), costs(4, 1.0), ramp_set(4, {}), budget_us=2.0, tune=never_tuned)
    assert after.ramps.tolist() == first_set(costs(4, 1.0), 2.0).ramps.tolist() != []


def test_the_first_set_is_evenly_spaced_and_as_large_as_the_budget() -> None:
    nine = costs(10, head_us=5.0)
    assert first_set(nine, 45.0).ramps.tolist() == list(range(9))
    assert first_set(nine, 15.0).ramps.tolist() == [2, 4, 7]
    assert first_set(nine, 5.0).ramps.tolist() == [4]
    assert first_set(nine, 4.9).ramps.tolist() == []


def test_in_the_first_set_nobody_leaves() -> None:
    assert (first_set(costs(5, 1.0), 10.0).thresholds[:-1] == 0).all()


def test_a_ramp_that_answers_no_sooner_than_the_full_model_is_never_offered() -> None:
    late = Costs(np.array([100.0, 300.0, 305.0]), np.array([1.0, 10.0, 0.0]))
    assert first_set(late, 100.0).ramps.tolist() == [0]


@settings(deadline=None, max_examples=80)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.005, 0.02, 0.1]))
def test_the_budget_and_the_last_exit_hold_over_many_rounds(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    exits = int(rng.integers(2, 12))
    exit_costs = Costs(np.sort(rng.uniform(100, 1000, exits)), np.append(rng.uniform(0.5, 20, exits - 1), 0.0))
    budget_us = share * exit_costs.elapsed_us[-1]
    now = first_set(exit_costs, budget_us)
    for _ in range(8):
        rows = evidence(rng.beta(0.8, 2.0, (60, exits)))

        def tune(active: np.ndarray) -> np.ndarray:
            return np.append(np.where(active[:-1], 0.3, 0.0), np.nan)

        now = adjust(rows, exit_costs, now, budget_us, tune)
        assert now.active[-1] and np.isnan(now.thresholds[-1])
        assert exit_costs.head_us[now.ramps].sum() <= budget_us + 1e-9
        assert (now.thresholds[:-1][~now.active[:-1]] == 0).all()
