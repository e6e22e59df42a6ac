"""What every tuner of the registry must keep, driven by one small simulated server."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json

import numpy as np
import pytest

from exeunt.contract import Reason
from exeunt.errors import ConfigError
from exeunt.manifest import Costs
from exeunt.records.feedback import Feedback
from exeunt.settings import Settings
from exeunt.tuning.registry import TUNERS, make_tuner
from exeunt.tuning.tuner import Answered, Setup, Tuner, View

EXITS = 4
COSTS = Costs(np.array([1000.0, 2000.0, 3000.0, 4000.0]), np.array([20.0, 20.0, 20.0, 0.0]))
NEEDS_NO_CALIBRATION = {"patience"}  # agreement of exits is its only evidence: it leaves from the first row on
MOVES_WITH_ITS_ACCOUNT = {"budget"}  # its thresholds follow from its version and from what was answered since

every_tuner = pytest.mark.parametrize("name", sorted(TUNERS))


def rows(count: int, seed: int) -> Feedback:
    """Rows of which the first exit is right on 80 %, the second on 92 %, the third on 98 %."""
    rng = np.random.default_rng(seed)
    full = rng.integers(0, 5, count)
    right = rng.random((count, EXITS)) < [0.80, 0.92, 0.98, 1.1]
    confidence = np.where(right, 1 - rng.beta(1, 8, right.shape), 1 - rng.beta(4, 4, right.shape))
    return Feedback.observed(np.where(right, full[:, None], (full[:, None] + 1) % 5), confidence)


def setup(name: str, calibration_rows: int = 400, **options: object) -> Setup:
    settings = Settings(tuner=name, tuner_options=options, max_loss=0.05)
    return Setup(COSTS, settings, rows(calibration_rows, seed=99), seed=7)


def serve(tuner: Tuner, batches: int, seed: int, until: int = EXITS - 1) -> np.ndarray:
    """Serve batches of 16 rows, feedback after each; returns the exit of every row."""
    exits = []
    for batch in range(batches):
        feedback = rows(16, seed + batch)
        exit_ = np.full(16, EXITS - 1, dtype=np.int32)
        labels, confidence = np.full_like(feedback.labels, -1), np.full_like(feedback.confidence, np.nan)
        for e in range(until):
            if not tuner.active()[e]:
                continue
            labels[:, e], confidence[:, e] = feedback.labels[:, e], feedback.confidence[:, e]
            still = np.flatnonzero(exit_ == EXITS - 1)
            view = View(labels[still], confidence[still], np.zeros(len(still), dtype=np.int16))
            exit_[still[tuner.leaves(e, view)]] = e
        labels[:, -1], confidence[:, -1] = feedback.labels[:, -1], feedback.confidence[:, -1]
        reason = np.where(exit_ < EXITS - 1, Reason.EARLY, Reason.FULL).astype(np.int8)
        ones, yes = np.ones(16, dtype=np.float32), np.ones(16, dtype=bool)
        tuner.answered(Answered(reason, exit_, np.zeros(16, dtype=np.int16), ones, yes, yes))
        tuner.learn(
            dataclasses.replace(
                feedback,
                labels=labels,
                confidence=confidence,
                exit=exit_,
                reason=reason,
                answer=feedback.labels[np.arange(16), exit_],
                tuner_version=np.full(16, tuner.version),
            )
        )
        job = tuner.retune()
        if job is not None:
            tuner.adopt(job())
        exits.append(exit_)
    return np.concatenate(exits)


def view_of(feedback: Feedback) -> View:
    return View(feedback.labels, feedback.confidence, feedback.service_class)


@every_tuner
def test_every_tuner_lets_somebody_leave_in_the_end(name: str) -> None:
    assert (serve(make_tuner(setup(name)), batches=40, seed=0)[320:] < EXITS - 1).any()


@every_tuner
def test_the_last_exit_is_always_active(name: str) -> None:
    tuner = make_tuner(setup(name))
    for seed in range(5):
        serve(tuner, batches=10, seed=seed)
        assert tuner.active()[-1]


@every_tuner
def test_inputs_are_left_untouched(name: str) -> None:
    tuner = make_tuner(setup(name))
    feedback = rows(64, seed=3)
    before = copy.deepcopy(feedback)
    tuner.leaves(1, view_of(feedback))
    tuner.learn(feedback)
    for field in dataclasses.fields(Feedback):
        np.testing.assert_array_equal(getattr(feedback, field.name), getattr(before, field.name))


@every_tuner
def test_the_same_seed_makes_the_same_choices(name: str) -> None:
    one, two = (serve(make_tuner(setup(name)), batches=30, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one, two)


@every_tuner
def test_state_survives_a_round_trip(name: str) -> None:
    first, second = make_tuner(setup(name)), make_tuner(setup(name))
    serve(first, batches=25, seed=11)
    second.restore(copy.deepcopy(first.state()), clean=True)
    saved, again = first.state(), second.state()
    assert saved.keys() == again.keys()
    for key in saved.keys() - {"version"}:
        np.testing.assert_array_equal(saved[key], again[key], err_msg=key)


@every_tuner
def test_tuners_restored_from_one_state_make_the_same_choices(name: str) -> None:
    first, second, third = (make_tuner(setup(name)) for _ in range(3))
    serve(first, batches=25, seed=11)
    for other in (second, third):
        other.restore(copy.deepcopy(first.state()), clean=True)
    np.testing.assert_array_equal(serve(second, batches=25, seed=70), serve(third, batches=25, seed=70))


@every_tuner
def test_state_holds_what_a_file_can_keep(name: str) -> None:
    tuner = make_tuner(setup(name))
    serve(tuner, batches=10, seed=2)
    arrays = {key: value for key, value in tuner.state().items() if isinstance(value, np.ndarray)}
    assert all(value.dtype != object for value in arrays.values())
    rest = {key: value for key, value in tuner.state().items() if key not in arrays}
    assert json.loads(json.dumps(rest)) == rest


@every_tuner
def test_nan_confidence_never_leaves(name: str) -> None:
    tuner = make_tuner(setup(name))
    serve(tuner, batches=30, seed=4)
    feedback = rows(64, seed=8)
    blank = View(feedback.labels, np.full_like(feedback.confidence, np.nan), feedback.service_class)
    assert not any(tuner.leaves(exit_, blank).any() for exit_ in range(EXITS - 1))


@every_tuner
def test_a_cold_start_without_calibration_lets_nobody_leave(name: str) -> None:
    tuner = make_tuner(setup(name, calibration_rows=0))
    leaves_at = [tuner.leaves(exit_, view_of(rows(64, seed=1))).any() for exit_ in range(EXITS - 1)]
    assert any(leaves_at) == (name in NEEDS_NO_CALIBRATION)


@every_tuner
def test_decisions_and_thresholds_have_the_promised_shapes(name: str) -> None:
    tuner = make_tuner(setup(name))
    assert tuner.thresholds().shape == tuner.active().shape == (EXITS,)
    assert tuner.thresholds().dtype == np.float64 and tuner.active().dtype == bool
    for count in (0, 1, 5):
        leaves = tuner.leaves(0, view_of(rows(count, seed=1)))
        assert leaves.shape == (count,) and leaves.dtype == bool


@every_tuner
def test_the_version_grows_whenever_thresholds_or_active_exits_change(name: str) -> None:
    tuner = make_tuner(setup(name))
    for seed in range(0, 60, 2):
        version, thresholds, active = tuner.version, tuner.thresholds(), tuner.active()
        serve(tuner, batches=2, seed=seed)
        assert tuner.version >= version
        same = (tuner.active() == active).all()
        if name not in MOVES_WITH_ITS_ACCOUNT:
            same &= np.array_equal(tuner.thresholds(), thresholds, equal_nan=True)
        assert same or tuner.version > version


@every_tuner
def test_what_a_tuner_hands_out_is_not_its_own_memory(name: str) -> None:
    tuner = make_tuner(setup(name))
    tuner.thresholds()[:] = 1.0
    tuner.active()[:] = False
    assert tuner.active()[-1]
    assert not (tuner.thresholds()[:-1] == 1.0).all()


@every_tuner
def test_risk_is_a_probability_for_every_confidence(name: str) -> None:
    tuner = make_tuner(setup(name))
    risk = tuner.risk(0, np.linspace(0, 1, 11, dtype=np.float32))
    assert risk.shape == (11,) and ((risk >= 0) & (risk <= 1)).all()


@every_tuner
def test_metrics_are_finite_numbers(name: str) -> None:
    tuner = make_tuner(setup(name))
    serve(tuner, batches=10, seed=0)
    assert all(np.isfinite(value) for value in tuner.metrics().values())


@every_tuner
def test_one_exit_is_enough(name: str) -> None:
    alone = Costs(np.array([1000.0]), np.array([0.0]))
    one = Feedback.observed(np.zeros((32, 1), dtype=int), np.ones((32, 1)))
    tuner = make_tuner(Setup(alone, Settings(tuner=name), one))
    for _ in range(10):
        tuner.learn(one)
        job = tuner.retune()
        if job is not None:
            tuner.adopt(job())
    assert tuner.active().tolist() == [True]


@every_tuner
def test_an_unknown_option_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(ConfigError, match="no_such_option"):
        make_tuner(setup(name, no_such_option=1))


@every_tuner
def test_a_state_of_another_bag_is_refused_or_ignored(name: str) -> None:
    two = Costs(np.array([1000.0, 2000.0]), np.array([10.0, 0.0]))
    feedback = Feedback.observed(np.zeros((8, 2), dtype=int), np.ones((8, 2)))
    other = make_tuner(Setup(two, Settings(tuner=name), feedback)).state()
    tuner = make_tuner(setup(name))
    with contextlib.suppress(ValueError):
        tuner.restore(other, clean=True)
    assert tuner.thresholds().shape == (EXITS,)


def test_an_unknown_tuner_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="hill_climb"):
        make_tuner(Setup(COSTS, dataclasses.replace(Settings(), tuner="hill_clim"), rows(4, seed=0)))
