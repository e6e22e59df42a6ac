"""The `static` tuner: the loosest thresholds that calibration bears, and thresholds of one's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.errors import ConfigError
from exeunt.manifest import Costs
from exeunt.records.feedback import Feedback
from exeunt.settings import Settings
from exeunt.tuning.evidence import Evidence
from exeunt.tuning.static import Static
from exeunt.tuning.tuner import Setup, View

COSTS = Costs(np.array([1000.0, 2000.0, 3000.0]), np.array([10.0, 10.0, 0.0]))
ALL = np.ones(3, dtype=bool)


def calibration(count: int, seed: int) -> Feedback:
    rng = np.random.default_rng(seed)
    errors = rng.beta(0.8, 3.0, (count, 3))
    wrong = rng.random((count, 3)) < errors
    wrong[:, -1] = False
    return Feedback.observed(wrong.astype(int), 1 - errors)


def static(feedback: Feedback, max_loss: float = 0.01, **options: object) -> Static:
    return Static(Setup(COSTS, Settings(tuner="static", tuner_options=options, max_loss=max_loss), feedback))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), max_loss=st.sampled_from([0.0, 0.01, 0.05, 0.2, 1.0]))
def test_the_joint_loss_on_calibration_keeps_the_promise(seed: int, max_loss: float) -> None:
    votes = calibration(300, seed)
    rows = Evidence.of(votes)
    assert rows.loss(rows.first_exit(static(votes, max_loss).thresholds(), ALL)) <= max_loss


def test_thresholds_sit_just_above_the_highest_score_that_leaves() -> None:
    votes = calibration(300, seed=1)
    rows, thresholds = Evidence.of(votes), static(votes, 0.05).thresholds()
    first = rows.first_exit(thresholds, ALL)
    for exit_ in range(2):
        highest = rows.errors[first == exit_, exit_].max()
        assert highest < thresholds[exit_] <= np.nextafter(highest, 1)


def test_a_looser_promise_never_lets_fewer_leave_at_the_first_exit() -> None:
    votes = calibration(400, seed=2)
    first = [static(votes, max_loss).thresholds()[0] for max_loss in (0.0, 0.05, 1.0)]
    assert first[0] < first[1] < first[2]


def test_a_certain_loss_lets_every_calibration_row_leave_at_once() -> None:
    votes = calibration(100, seed=3)
    tuner = static(votes, max_loss=1.0)
    assert tuner.leaves(0, View(votes.labels, votes.confidence, votes.service_class)).all()


def test_feedback_moves_nothing() -> None:
    tuner = static(calibration(200, seed=4), 0.05)
    before = tuner.thresholds()
    tuner.learn(calibration(500, seed=5))
    assert tuner.retune() is None and tuner.version == 0
    np.testing.assert_array_equal(tuner.thresholds(), before)


def test_the_strictest_class_of_service_holds_for_all() -> None:
    votes = calibration(300, seed=6)
    classes = Settings(tuner="static", max_loss=0.2, service_classes={"gold": 0.01})
    np.testing.assert_array_equal(
        Static(Setup(COSTS, classes, votes)).thresholds(), static(votes, max_loss=0.01).thresholds()
    )


def test_thresholds_of_ones_own_are_taken_as_they_are() -> None:
    none = calibration(0, seed=0)
    assert static(none, thresholds=[1.0]).thresholds()[:2].tolist() == [1, 1]
    assert static(none, thresholds=[0.25, 0]).thresholds()[:2].tolist() == [0.25, 0]


@pytest.mark.parametrize("feedback", [[0.1, 0.2, 0.3], [1.5], ["a"], [float("nan")]])
def test_thresholds_that_do_not_fit_are_refused(feedback: list[object]) -> None:
    with pytest.raises(ConfigError, match="thresholds"):
        static(calibration(0, seed=0), thresholds=feedback)


def test_an_exit_that_calibration_never_saw_stays_shut() -> None:
    votes = calibration(100, seed=7)
    votes.labels[:, 1], votes.confidence[:, 1] = -1, np.nan
    assert static(votes, 1.0).thresholds()[1] == 0


def test_another_promise_brings_other_thresholds() -> None:
    votes = calibration(300, seed=8)
    tuner = static(votes, max_loss=0.01)
    tuner.set_class_losses((0.2,))
    assert tuner.version == 1
    np.testing.assert_array_equal(tuner.thresholds(), static(votes, max_loss=0.2).thresholds())


def test_another_promise_leaves_thresholds_of_ones_own_alone() -> None:
    tuner = static(calibration(50, seed=9), thresholds=[0.3])
    tuner.set_class_losses((0.2,))
    assert tuner.thresholds()[0] == 0.3
