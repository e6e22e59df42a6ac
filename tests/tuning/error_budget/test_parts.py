"""What `budget` thinks with: the calibrator, the path, the spending plan, the choice of exits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from exeunt.manifest import Costs
from exeunt.tuning.error_budget.calibrator import calibrate, prior
from exeunt.tuning.error_budget.exit_choice import ExitChoice, Replayed, pruned, reconsider
from exeunt.tuning.error_budget.exit_path import even_starts, find_path
from exeunt.tuning.error_budget.rule import PRICES, ExitPath
from exeunt.tuning.error_budget.spending import plan
from exeunt.tuning.isotonic import isotonic
from tests.tuning.error_budget.world import stream

ALL = np.ones(4, dtype=bool)
SPENT = np.array([0.25, 0.5, 0.75, 1.0])

values = hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1))


def window(rows: int = 1500, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels, confidence = stream(np.random.default_rng(seed), rows, 4)
    return labels, confidence, np.ones((rows, 4))


def risks(rows: int = 1500, seed: int = 0) -> np.ndarray:
    labels, confidence, weights = window(rows, seed)
    return calibrate(labels, confidence, weights, prior(4)).risks_of(labels, confidence)


@given(values)
def test_pooling_gives_an_ascending_sequence_with_the_same_mean(sequence: np.ndarray) -> None:
    pooled = isotonic(sequence, np.ones(len(sequence)))
    assert (np.diff(pooled) >= -1e-12).all()
    assert pooled.mean() == pytest.approx(sequence.mean())


@given(values)
def test_pooling_leaves_an_ascending_sequence_alone(sequence: np.ndarray) -> None:
    ascending = np.sort(sequence)
    assert isotonic(ascending, np.ones(len(ascending))) == pytest.approx(ascending)


def test_risk_before_any_feedback_is_what_the_confidence_lacks() -> None:
    confidence = np.array([0.5, 0.9, 0.99])
    assert prior(2).risk(0, confidence) == pytest.approx(1.0 - confidence, abs=0.01)


def test_risk_falls_with_confidence_for_every_label() -> None:
    calibration = calibrate(*window(), prior(4))
    confidence = np.linspace(0.0, 1.0, 200)
    for label in range(4):
        for exit_ in range(3):
            assert (np.diff(calibration.risk(exit_, confidence, np.full(200, label))) <= 1e-12).all()


def test_a_harder_label_gets_a_higher_risk() -> None:
    labels, confidence, weights = window()
    hard = labels[:, 0] == 2
    labels[hard, -1] = np.where(np.random.default_rng(0).random(hard.sum()) < 0.5, 3, labels[hard, -1])
    calibration = calibrate(labels, confidence, weights, prior(4))
    risk = calibration.risk(0, np.full(4, 0.9), np.arange(4))
    assert risk.argmax() == 2


def test_an_exit_that_no_row_has_seen_keeps_its_prior() -> None:
    labels, confidence, weights = window()
    confidence[:, 1] = np.nan
    calibration = calibrate(labels, confidence, weights, prior(4))
    assert calibration.risk(1, np.array([0.8])) == pytest.approx([0.2], abs=0.01)


def test_recent_rows_count_as_much_as_their_weight() -> None:
    labels, confidence, weights = window()
    wrong = labels.copy()
    wrong[:, -1] = labels[:, 0] + 1
    both = np.concatenate([wrong, labels]), np.concatenate([confidence, confidence])
    recent = calibrate(*both, np.concatenate([weights * 1e-6, weights]), prior(4))
    alone = calibrate(labels, confidence, weights, prior(4))
    at = np.array([0.7, 0.9, 0.99])
    assert recent.risk(0, at) == pytest.approx(alone.risk(0, at), abs=0.02)


def test_the_confidence_at_a_risk_is_where_the_risk_is_reached() -> None:
    calibration = calibrate(*window(), prior(4))
    for risk in (0.02, 0.05, 0.2):
        confidence = calibration.confidence_at(0, risk)
        assert calibration.risk(0, np.array([confidence])) == pytest.approx([risk], rel=0.05)


@given(hnp.arrays(np.float64, st.integers(1, 200), elements=st.floats(0, 1)), st.integers(1, 40))
def test_bins_start_at_the_first_row_and_ascend(risk: np.ndarray, bins: int) -> None:
    starts = even_starts(np.sort(risk), bins)
    assert starts[0] == 0
    assert (np.diff(starts) > 0).all()
    assert len(starts) <= bins


def test_the_path_goes_from_nobody_to_everybody_at_once_and_is_nested() -> None:
    path = find_path(risks(), np.ones(1500), SPENT, ALL)
    assert (path.loss[0], path.latency[0]) == (0.0, pytest.approx(1.0))
    assert path.latency[-1] == pytest.approx(0.25)
    assert (np.diff(path.cuts[:-1], axis=0) >= 0).all()
    assert (np.diff(path.loss) >= 0).all() and (np.diff(path.latency) <= 0).all()


def test_no_fixed_cuts_of_a_coarse_grid_beat_the_path_by_more_than_a_hair() -> None:
    risk = risks(600)
    path = find_path(risk, np.ones(600), SPENT, ALL)
    grid = np.concatenate([[0.0], np.geomspace(0.003, 1.0, 14)])
    price = float(PRICES[9])
    best = np.inf
    for first in grid:
        for second in grid:
            for third in grid:
                leaves = risk < np.array([first, second, third])
                exit_ = np.where(leaves.any(axis=1), leaves.argmax(axis=1), 3)
                lost = np.append(risk, np.zeros((600, 1)), axis=1)[np.arange(600), exit_]
                best = min(best, float(SPENT[exit_].mean() + price * lost.mean()))
    assert path.latency[10] + price * path.loss[10] <= best * 1.01


def test_an_inactive_exit_lets_nobody_leave() -> None:
    path = find_path(risks(), np.ones(1500), SPENT, np.array([True, False, True, True]))
    assert (path.cuts[:, 1] == 0.0).all()


def test_rows_that_never_saw_an_exit_cannot_leave_there() -> None:
    risk = risks()
    risk[:, 0] = np.nan
    assert find_path(risk, np.ones(1500), SPENT, ALL).latency[-2] >= 0.5


def test_positions_between_two_points_lie_between_their_cuts() -> None:
    path = find_path(risks(), np.ones(1500), SPENT, ALL)
    middle = path.at(8.5)
    assert (middle >= path.cuts[8]).all() and (middle <= path.cuts[9]).all()
    assert path.at(0.0).tolist() == [0.0, 0.0, 0.0]
    assert np.isinf(path.at(len(PRICES))).all()


def test_more_reserve_never_means_less_far_along_the_path() -> None:
    path = find_path(risks(), np.ones(1500), SPENT, ALL)
    for eps in (0.001, 0.01, 0.1):
        positions = plan(path, eps, capacity=5.0)
        assert positions[0] == 0.0
        assert (np.diff(positions) >= 0).all()
        assert path.loss[round(positions[-1])] > 0.5 * eps


def test_a_plan_spends_about_what_is_promised() -> None:
    path = find_path(risks(), np.ones(1500), SPENT, ALL)
    rng, eps, capacity = np.random.default_rng(0), 0.02, 5.0
    positions = plan(path, eps, capacity)
    rates = np.interp(positions, np.arange(len(path.loss)), path.loss)
    reserve, lost = 0.0, 0
    for _ in range(20_000):
        level = max(reserve, 0.0) / capacity * (len(rates) - 1)
        hit = rng.random() < np.interp(level, np.arange(len(rates)), rates)
        lost += hit
        reserve = min(capacity, reserve + eps) - hit
    assert 0.8 * eps < lost / 20_000 <= eps


def dry_share(positions: np.ndarray, path: ExitPath, eps: float, capacity: float, weight: float) -> float:
    """Share of the answers that find the reserve empty, where one loss of `weight` is seen and counts for so many."""
    rng, reserve, dry = np.random.default_rng(0), 0.0, 0
    rates = np.interp(positions, np.arange(len(path.loss)), path.loss) / weight
    for chance in rng.random(60_000).tolist():
        level = max(reserve, 0.0) / capacity * (len(rates) - 1)
        hit = chance < np.interp(level, np.arange(len(rates)), rates)
        reserve = min(capacity, reserve + eps) - weight * hit
        dry += reserve <= 0.0
    return dry / 60_000


def test_where_few_losses_are_seen_and_each_weighs_much_the_reserve_is_not_run_dry() -> None:
    path = find_path(risks(), np.ones(1500), SPENT, ALL)
    eps, capacity, weight = 0.02, 50.0, 10.0
    blind, seeing = plan(path, eps, capacity), plan(path, eps, capacity, weight)
    assert dry_share(seeing, path, eps, capacity, weight) < 0.1
    assert dry_share(blind, path, eps, capacity, weight) > 3 * dry_share(seeing, path, eps, capacity, weight)


def test_a_plan_for_heavier_losses_is_that_for_as_many_losses_of_one() -> None:
    path = find_path(risks(), np.ones(1500), SPENT, ALL)
    lighter = ExitPath(path.cuts, path.loss / 10.0, path.latency)
    heavy, light = plan(path, 0.01, 50.0, 10.0), plan(lighter, 0.001, 5.0)
    assert len(heavy) == len(light) and (heavy >= light).all()  # a loss that weighs ten costs a tenth for each of them


@pytest.mark.parametrize(("eps", "position"), [(0.0, 0.0), (1.0, float(len(PRICES)))])
def test_without_budget_the_plan_is_nobody_and_with_all_of_it_everybody(eps: float, position: float) -> None:
    path = find_path(risks(), np.ones(1500), SPENT, ALL)
    assert plan(path, eps, capacity=5.0)[-1] == pytest.approx(position)


def test_a_plan_copes_with_a_path_on_which_nothing_is_known() -> None:
    nothing = ExitPath(np.zeros((22, 3)), np.zeros(22), np.ones(22))
    assert np.isfinite(plan(nothing, 0.01, capacity=5.0)).all()


def replayed(heads: list[float], observed: np.ndarray | None = None) -> Replayed:
    risk = risks()
    if observed is not None:
        risk[~observed] = np.nan
    return Replayed(risk, np.ones(1500), Costs(SPENT * 1000.0, np.append(heads, 0.0)), price=5.0)


def without(*exits: int) -> ExitChoice:
    choice = ExitChoice.all(4)
    choice.active[list(exits)] = False
    return choice


def test_calibration_data_prune_what_costs_more_than_it_saves() -> None:
    assert pruned(ExitChoice.all(4), replayed([1.0, 400.0, 1.0])).active.tolist() == [True, False, True, True]


def test_an_exit_is_dropped_only_when_doubted_twice_in_a_row() -> None:
    dear = replayed([1.0, 400.0, 1.0])
    once = reconsider(ExitChoice.all(4), dear)
    assert once.active.all()
    assert reconsider(once, replayed([1.0, 1.0, 1.0])).doubts.tolist() == [0, 0, 0, 0]
    assert not reconsider(once, dear).active[1]


def test_an_inactive_exit_that_looks_useful_is_tried_and_kept_if_it_pays() -> None:
    useful = replayed([1.0, 1.0, 1.0])
    trying = reconsider(without(0), useful)
    assert (trying.trial, trying.active[0]) == (0, True)
    after_trial = reconsider(trying, useful)
    assert (after_trial.trial, after_trial.active[0]) == (-1, True)


def test_a_trial_that_fails_ends_and_the_next_waits_twice_as_long() -> None:
    useful, useless = replayed([1.0, 1.0, 1.0]), replayed([700.0, 1.0, 1.0])
    choice, waits = without(0), []
    for _ in range(2):
        periods = 0
        while choice.trial < 0:
            choice = reconsider(choice, useful)
            periods += 1
        waits.append(periods)
        choice = reconsider(choice, useless)
        assert not choice.active[0]
    waits.append(int(choice.rest[0]))
    assert waits == [1, 2, 4]


def test_an_exit_that_too_few_rows_have_seen_is_left_alone() -> None:
    observed = np.ones((1500, 3), dtype=bool)
    observed[:-20, 0] = False
    assert not reconsider(without(0), replayed([1.0, 1.0, 1.0], observed)).active[0]


@pytest.mark.parametrize("seed", range(20))
def test_the_risk_of_one_vote_is_that_of_many(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, (300, 3)).astype(np.int32)
    confidence = rng.random((300, 3)).astype(np.float32)
    calibration = calibrate(labels, confidence, np.ones((300, 3)), prior(3))
    confidences = np.append(rng.random(50), [0.0, 1.0, np.nan]).astype(np.float32)
    of = np.append(rng.integers(-1, 7, 50), [0, 1, 2]).astype(np.int32)

    many = calibration.risk(1, confidences, of)

    one = [calibration.risk_of_one(1, float(c), int(label)) for c, label in zip(confidences, of, strict=True)]
    np.testing.assert_allclose(one, many, rtol=1e-9)
