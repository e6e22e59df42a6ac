"""`budget` in the corners: no budget, all the budget, one exit, ties, NaN, classes never seen, exits on and off."""

from __future__ import annotations

import numpy as np
import pytest

from exeunt.deciding.votes import max_probability
from exeunt.errors import ConfigError
from exeunt.manifest import Costs
from exeunt.records.feedback import Feedback
from exeunt.settings import Settings
from exeunt.tuning.error_budget.budget_tuner import BudgetTuner
from exeunt.tuning.error_budget.error_budget import OUTSIDE_SHARE
from exeunt.tuning.tuner import Setup, View
from tests.tuning.error_budget.world import World, costs, stream, tuner


def lived(world: World, batches: int = 60, seed: int = 0, **options: object) -> World:
    """Some life, with feedback one batch late."""
    rng = np.random.default_rng(seed)
    for _ in range(batches):
        labels, confidence = stream(rng, 8, world.tuner.setup.exits)
        world.admit(labels, confidence, **options)  # type: ignore[arg-type]
        while len(world.flying) > 1:
            world.finish()
    return world


def test_without_a_budget_nobody_leaves() -> None:
    world = lived(World(tuner(eps=0.0), np.random.default_rng(0)))
    assert set(world.exits) == {3}
    assert world.tuner.thresholds()[:-1].tolist() == [0.0, 0.0, 0.0]


def test_with_all_the_budget_everybody_leaves_at_the_first_exit_once_there_is_some() -> None:
    world = lived(World(tuner(eps=1.0, most_unconfirmed=100), np.random.default_rng(0)))
    assert set(world.exits[64:]) == {0}


def test_the_first_answers_wait_until_there_is_something_to_lose() -> None:
    some = tuner(eps=0.05)
    labels, confidence = stream(np.random.default_rng(0), 8, 4)
    view = View(labels, confidence, np.zeros(8, dtype=np.int16))
    assert not some.leaves(0, view).any()
    lived(World(some, np.random.default_rng(0)))
    assert some.leaves(0, view).any()


def test_a_bag_with_one_exit_answers_with_the_full_vote() -> None:
    world = lived(World(tuner(exits=1), np.random.default_rng(0)), batches=20)
    assert set(world.exits) == {0}
    assert world.tuner.metrics()["observed_loss"] == 0.0


def test_without_calibration_rows_nobody_leaves_until_feedback_has_come() -> None:
    some = tuner(calibration_rows=0)
    some.budget.classes[0].answered(1000)
    labels, confidence = stream(np.random.default_rng(0), 8, 4)
    assert not some.leaves(0, View(labels, confidence, np.zeros(8, dtype=np.int16))).any()
    assert 0 in lived(World(some, np.random.default_rng(0))).exits[200:]


def test_rows_with_the_same_vote_leave_together() -> None:
    some = lived(World(tuner(most_unconfirmed=100), np.random.default_rng(0))).tuner
    labels, confidence = np.full((30, 4), 1, dtype=np.int32), np.full((30, 4), 0.97, dtype=np.float32)
    leaves = some.leaves(0, View(labels, confidence, np.zeros(30, dtype=np.int16)))
    assert leaves.all() or not leaves.any()


def test_only_as_many_leave_as_may_await_their_full_vote_and_the_surest_first() -> None:
    some = lived(World(tuner(eps=0.5, most_unconfirmed=5), np.random.default_rng(0)), seed=1).tuner
    some.budget.classes[0].confirmed(5, some.budget.classes[0].unconfirmed)
    confidence = np.linspace(0.99, 0.9, 20, dtype=np.float32)[:, None].repeat(4, axis=1)
    view = View(np.full((20, 4), 1, dtype=np.int32), confidence, np.zeros(20, dtype=np.int16))
    assert np.flatnonzero(some.leaves(0, view)).tolist() == [0, 1, 2, 3, 4]


def test_a_row_without_a_vote_never_leaves() -> None:
    world = lived(World(tuner(eps=1.0), np.random.default_rng(0)))
    confidence = max_probability(np.full((4, 3), np.nan, dtype=np.float32))[:, None].repeat(4, axis=1)
    view = View(np.full((4, 4), -1, dtype=np.int32), confidence, np.zeros(4, dtype=np.int16))
    assert not world.tuner.leaves(0, view).any()
    assert np.isnan(world.tuner.risk(0, confidence[:, 0])).all()


def test_a_label_never_seen_has_the_average_risk() -> None:
    some = lived(World(tuner(), np.random.default_rng(0))).tuner
    confidence = np.full(1, 0.9, dtype=np.float32)
    assert some.risk(0, confidence, np.array([999])) == some.risk(0, confidence)


def test_a_class_of_service_that_never_comes_disturbs_nobody() -> None:
    with_class = lived(World(tuner(service_classes={"gold": 0.001}), np.random.default_rng(0)))
    without = lived(World(tuner(), np.random.default_rng(0)))
    assert with_class.exits == without.exits


def test_a_stricter_class_of_service_leaves_later() -> None:
    world = World(tuner(eps=0.3, service_classes={"gold": 0.01}, most_unconfirmed=100), np.random.default_rng(0))
    rng = np.random.default_rng(0)
    exits_by_class: dict[int, list[int]] = {0: [], 1: []}
    for _ in range(200):
        labels, confidence = stream(rng, 8, 4)
        classes = rng.integers(0, 2, 8)
        for class_, exit_ in zip(classes.tolist(), world.admit(labels, confidence, classes).tolist(), strict=True):
            exits_by_class[class_].append(exit_)
        world.finish()
    assert np.mean(exits_by_class[0]) < np.mean(exits_by_class[1])


def test_an_exit_that_an_operator_switched_off_is_planned_without() -> None:
    world = World(tuner(eps=0.1, most_unconfirmed=100), np.random.default_rng(0))
    lived(world, batches=70, observed=np.array([False, True, True, True]))
    assert world.tuner.thresholds()[0] == 0.0
    assert set(world.exits[200:]) >= {1}
    lived(world, batches=70, seed=1)
    assert world.tuner.thresholds()[0] > 0.0


def test_a_changed_promise_holds_from_the_next_answer_on() -> None:
    world = lived(World(tuner(eps=0.3), np.random.default_rng(0)))
    world.tuner.set_class_losses((0.0,))
    reserve = world.tuner.budget.classes[0].reserve
    lived(world, batches=5, seed=1)
    assert world.tuner.budget.classes[0].reserve <= reserve
    assert world.tuner.metrics()["promised_loss"] == 0.0


def test_thresholds_fall_as_lambda_rises() -> None:
    some = lived(World(tuner(eps=0.02), np.random.default_rng(0))).tuner
    account = some.budget.classes[0]
    account.answered(1000)
    before = some.thresholds()
    account.lost(0.9 * account.capacity)
    after = some.thresholds()
    assert (after[:-1] <= before[:-1]).all() and after[0] < before[0]
    account.lost(0.1 * account.capacity)
    assert some.thresholds()[:-1].tolist() == [0.0, 0.0, 0.0]
    assert np.isnan(some.thresholds()[-1])


def test_what_rows_that_await_their_full_vote_have_likely_lost_is_not_spent_again() -> None:
    some = lived(World(tuner(eps=0.02), np.random.default_rng(0))).tuner
    account = some.budget.classes[0]
    account.answered(1000)
    before = some.thresholds()
    account.left_early(200, 200.0, 1.0)
    held_back = some.thresholds()
    assert (held_back[:-1] <= before[:-1]).all() and held_back[0] < before[0]
    account.left_early(100_000, 100_000.0, 1.0)
    assert account.may_leave and some.thresholds()[:-1].tolist() == [0.0, 0.0, 0.0]
    account.confirmed(100_200, 100_200.0)
    np.testing.assert_array_equal(some.thresholds(), before)


def test_the_loss_spent_is_near_the_loss_promised() -> None:
    world = World(tuner(eps=0.05, g=0.2, window_rows=1024, most_unconfirmed=64), np.random.default_rng(0))
    lived(world, batches=500)
    assert 0.03 < world.losses()[-1] / len(world.losses()) <= 0.05 + 8 / 4000


def test_estimated_risks_come_true() -> None:
    world = World(tuner(eps=0.05, window_rows=1024, most_unconfirmed=64), np.random.default_rng(0))
    lived(world, batches=150)
    labels, confidence = stream(np.random.default_rng(5), 4000, 4)
    lost = labels[:, 0] != labels[:, -1]
    risk = world.tuner.risk(0, confidence[:, 0], labels[:, 0])
    for sure in (risk < 0.05, risk >= 0.05):
        assert risk[sure].mean() == pytest.approx(lost[sure].mean(), abs=0.05)


def test_options_that_make_no_sense_are_refused_by_name() -> None:
    setup = Setup(costs(2), Settings(tuner="budget", tuner_options={"g": 0.0}), Feedback.observed(*stream_of(8)))
    with pytest.raises(ConfigError, match=r"tuner_options: g = 0\.0"):
        BudgetTuner(setup)


def stream_of(rows: int) -> tuple[np.ndarray, np.ndarray]:
    return stream(np.random.default_rng(0), rows, 2)


def test_an_exit_whose_heads_cost_more_than_they_save_is_dropped_at_the_start() -> None:
    labels, confidence = stream(np.random.default_rng(0), 400, 3)
    dear = Costs(np.array([300.0, 600.0, 1000.0]), np.array([0.0, 500.0, 0.0]))
    some = BudgetTuner(Setup(dear, Settings(tuner="budget", max_loss=0.05), Feedback.observed(labels, confidence)))
    assert some.active().tolist() == [True, False, True]


def test_a_flood_of_rows_outside_the_promise_fills_at_most_its_share_of_the_window() -> None:
    some = tuner(window_rows=200)
    rng = np.random.default_rng(4)
    for _ in range(40):
        labels, confidence = stream(rng, 64, some.setup.exits)
        flood = Feedback.observed(labels, confidence)
        flood.never[:] = True
        some.learn(flood)
        some.learn(Feedback.observed(*stream(rng, 4, some.setup.exits)))
    learnt = some._window.view()
    assert 0 < learnt.never.mean() <= OUTSIDE_SHARE + 0.02


def test_a_flood_of_noise_outside_the_promise_costs_others_at_most_a_tenth_of_their_early_answers() -> None:
    def early(flooded: bool) -> int:
        world = World(tuner(eps=0.05, window_rows=512, most_unconfirmed=64), np.random.default_rng(0))
        rows, noise = np.random.default_rng(1), np.random.default_rng(2)
        for number in range(1500):
            world.admit(*stream(rows, 4, world.tuner.setup.exits))
            world.finish()
            if flooded and number % 5 == 0:
                labels = noise.integers(0, 4, (64, world.tuner.setup.exits))
                feedback = Feedback.observed(labels, noise.random(labels.shape))
                feedback.never[:] = True
                world.tuner.learn(feedback)
        return int(np.count_nonzero(np.array(world.exits) < world.tuner.setup.exits - 1))

    assert early(flooded=True) >= 0.9 * early(flooded=False) > 0
