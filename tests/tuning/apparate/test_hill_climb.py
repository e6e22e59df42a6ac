"""The `hill_climb` tuner: when it searches, when it adjusts, and what it leaves alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from exeunt.contract import Reason
from exeunt.errors import ConfigError
from exeunt.manifest import Costs
from exeunt.records.feedback import Feedback
from exeunt.settings import Settings
from exeunt.tuning.apparate.hill_climb import HillClimb
from exeunt.tuning.tuner import Setup, View

COSTS = Costs(np.array([1000.0, 2000.0, 3000.0]), np.array([10.0, 10.0, 0.0]))
NOTHING = Feedback.observed(np.zeros((0, 3), dtype=int), np.zeros((0, 3)))


def tuner(max_loss: float = 0.01, **options: object) -> HillClimb:
    return HillClimb(Setup(COSTS, Settings(tuner_options=options, max_loss=max_loss), NOTHING))


def good(count: int, error: float = 0.045) -> Feedback:
    """Rows on which every exit is right and sure."""
    return Feedback.observed(np.zeros((count, 3), dtype=int), np.full((count, 3), 1 - error))


def lost(count: int, exit_: int = 0, error: float = 0.045) -> Feedback:
    """Rows that left at `exit_` with another label than the full vote's; the other exits are right."""
    feedback = good(count, error)
    feedback.labels[:, exit_] = 1
    return dataclasses.replace(
        feedback,
        answer=np.ones(count, dtype=np.int32),
        exit=np.full(count, exit_, dtype=np.int32),
        reason=np.full(count, Reason.EARLY, dtype=np.int8),
    )


def learn(climb: HillClimb, feedback: Feedback) -> bool:
    """Learn, and run the job that is due; True if there was one."""
    climb.learn(feedback)
    job = climb.retune()
    if job is None:
        return False
    climb.adopt(job())
    return True


def opened(**options: object) -> HillClimb:
    """A tuner after its first adjustment, on rows that are all sure and right."""
    climb = tuner(**options)
    assert learn(climb, good(128))
    return climb


def test_thresholds_open_at_the_first_adjustment_after_128_rows() -> None:
    climb = tuner()
    assert not learn(climb, good(127))
    assert climb.thresholds()[:2].tolist() == [0, 0]
    assert learn(climb, good(1))
    assert climb.thresholds()[0] > 0.05


def test_a_loss_within_the_last_16_rows_triggers_a_search() -> None:
    climb = opened()
    assert not learn(climb, good(20))
    assert learn(climb, lost(1))


def test_the_trigger_looks_back_exactly_16_rows() -> None:
    climb = opened()
    assert learn(climb, lost(1))
    assert learn(climb, good(15))
    assert not learn(climb, good(1))


def test_the_trigger_allows_the_promised_loss() -> None:
    climb = opened(max_loss=2 / 16)
    climb.learn(good(14))
    assert not learn(climb, lost(2))
    assert learn(climb, lost(1))


def test_a_search_closes_the_exit_that_loses() -> None:
    climb = opened()
    learn(climb, lost(16))
    assert climb.thresholds()[0] < 0.045 < climb.thresholds()[1]


def test_as_published_nothing_reopens_before_the_period_ends() -> None:
    climb = opened(window=64)
    assert learn(climb, lost(16)) and not learn(climb, good(111))
    assert climb.thresholds()[0] < 0.045
    assert learn(climb, good(1))
    assert climb.thresholds()[0] > 0.045


def test_rows_outside_the_promise_trigger_nothing() -> None:
    climb = opened()
    late = lost(16)
    late.reason[:] = Reason.DEADLINE
    assert not learn(climb, late)


def test_a_threshold_leaves_strictly_below() -> None:
    climb = opened()
    threshold = np.float32(climb.thresholds()[0])
    assert threshold == 1.0  # nothing ever erred: the published climb goes to the top
    view = View(np.zeros((2, 3), np.int32), np.array([[0.0] * 3, [1e-6] * 3], np.float32), np.zeros(2, np.int16))
    assert climb.leaves(0, view).tolist() == [False, True]


def test_the_strictest_class_of_service_holds_for_all() -> None:
    settings = Settings(max_loss=0.5, service_classes={"gold": 0.0})
    climb = HillClimb(Setup(COSTS, settings, NOTHING))
    climb.learn(good(16))
    assert learn(climb, lost(1))


def test_another_promise_is_searched_for_at_once() -> None:
    climb = opened()
    climb.set_class_losses((0.0,))
    assert climb.retune() is not None


def test_an_exit_switched_off_by_an_operator_does_not_stop_tuning() -> None:
    climb = tuner()
    unseen = good(128)
    unseen.labels[:, 0], unseen.confidence[:, 0] = -1, np.nan
    learn(climb, unseen)
    assert climb.thresholds()[1] > 0.045


def test_only_one_ramp_is_active_under_a_strict_budget_for_one() -> None:
    assert tuner(ramp_budget=10.5 / 3000).active().tolist() == [False, True, True]


def test_a_budget_of_nothing_offers_no_ramp() -> None:
    assert tuner(ramp_budget=0.0).active().tolist() == [False, False, True]


def test_by_default_all_that_export_let_through_may_be_active() -> None:
    dear = Costs(COSTS.elapsed_us, np.array([400.0, 400.0, 0.0]))
    assert HillClimb(Setup(dear, Settings(), NOTHING)).active().all()


def test_a_ramp_that_never_pays_is_switched_off() -> None:
    climb = tuner(ramp_budget=1.0)
    hopeless = good(128)
    hopeless.confidence[:, 0] = 0.05
    hopeless.labels[:, 0] = 1
    learn(climb, hopeless)
    assert climb.active().tolist() == [False, True, True]


def test_without_adjustment_ramps_stay_and_thresholds_still_open() -> None:
    climb = opened(adjust=False)
    assert climb.active().all() and climb.thresholds()[0] > 0


def test_a_job_works_on_copies() -> None:
    climb = tuner()
    climb.learn(good(128))
    job = climb.retune()
    assert job is not None
    climb.learn(lost(100))
    alone = tuner()
    alone.learn(good(128))
    other = alone.retune()
    assert other is not None
    np.testing.assert_array_equal(job().ramps.thresholds, other().ramps.thresholds)


def test_the_public_code_opens_after_its_first_batch() -> None:
    climb = tuner(constants="public_code")
    assert learn(climb, good(8))
    assert climb.thresholds()[0] > 0


def test_the_public_codes_guard_closes_exits_that_erred_at_once() -> None:
    climb = tuner(constants="public_code")
    learn(climb, good(8))
    version = climb.version
    climb.learn(lost(8))
    assert climb.thresholds()[0] == 0 < climb.thresholds()[1]
    assert climb.version == version + 1 and climb.retune() is None


def test_an_outcome_older_than_the_guard_is_dropped_and_searched_again() -> None:
    climb = tuner(constants="public_code")
    learn(climb, good(8))
    climb.learn(good(8))
    climb._tune_due = True
    job = climb.retune()
    climb.learn(lost(8))
    assert job is not None
    climb.adopt(job())
    assert climb.thresholds()[0] == 0 and climb.retune() is not None


def test_the_public_codes_window_is_four_batches() -> None:
    climb = tuner(constants="public_code")
    learn(climb, good(8))
    learn(climb, lost(2))
    for _ in range(3):
        climb.learn(good(8))
    climb._tune_due = True
    assert learn(climb, good(8))
    assert climb.thresholds()[0] > 0.05


@pytest.mark.parametrize(
    ("option", "value"),
    [("constants", "papers"), ("window", 0), ("trigger", -1), ("period", 2.5), ("ramp_budget", 2.0)],
)
def test_a_bad_option_is_refused_by_its_name(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{option}.*{value}"):
        tuner(**{option: value})


def test_a_restart_keeps_thresholds_window_and_counters() -> None:
    climb = opened()
    learn(climb, lost(4))
    again = tuner()
    again.restore(climb.state(), clean=False)
    assert again.version == climb.version
    np.testing.assert_array_equal(again.thresholds(), climb.thresholds())
    assert learn(again, lost(1)) and learn(climb, lost(1))
    np.testing.assert_array_equal(again.thresholds(), climb.thresholds())


def test_a_saved_ramp_set_beyond_the_budget_is_not_taken_over() -> None:
    again = tuner(ramp_budget=10.5 / 3000)
    again.restore(opened().state(), clean=True)
    assert again.active().tolist() == [False, True, True] and again.thresholds()[1] == 0


def test_a_state_with_something_missing_is_refused() -> None:
    state = opened().state()
    del state["recent"]
    with pytest.raises(ValueError, match="recent"):
        tuner().restore(state, clean=True)
