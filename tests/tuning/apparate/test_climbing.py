"""The hill search_thresholds: figure 9's path, and the same thresholds as the published loop in plain Python."""

from __future__ import annotations

import runpy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.contract import Reason
from exeunt.manifest import Costs
from exeunt.records.feedback import Feedback
from exeunt.tuning.apparate.threshold_search import (
    PAPER,
    PUBLIC_CODE,
    SearchRules,
    search_thresholds,
    searched_thresholds,
)
from exeunt.tuning.evidence import Evidence
from tests.places import ROOT

BENCHMARK = runpy.run_path(str(ROOT / "benchmarks" / "hill_climb.py"))
plain_climb, Records = BENCHMARK["plain_climb"], BENCHMARK["Records"]
NOT_THERE = 0.99


def evidence(errors: np.ndarray, wrong: np.ndarray, weight: np.ndarray | None = None) -> Evidence:
    """Evidence over ramps [rows, ramps]; the last exit is added, right and certain."""
    count = len(errors)
    return Evidence(
        np.concatenate([errors, np.zeros((count, 1))], axis=1),
        np.concatenate([wrong, np.zeros((count, 1), dtype=bool)], axis=1),
        np.ones(count) if weight is None else weight,
    )


def figure_9() -> tuple[Evidence, np.ndarray]:
    """ResNet50, 1000 rows: ramps after 5 and 9 of 16 blocks at 1.4 % each; loss < 1 % up to thresholds (.25, .35)."""
    errors = np.full((1000, 2), NOT_THERE)
    wrong = np.zeros((1000, 2), dtype=bool)
    groups = [  # rows, ramp, error score, how many of them are wrong
        (66, 1, 0.05, 0),
        (66, 0, 0.15, 0),
        (336, 1, 0.25, 4),
        (107, 0, 0.22, 1),
        (80, 1, 0.33, 2),
    ]
    start = 0
    for count, ramp, error, losses in groups:
        errors[start : start + count, ramp] = error
        wrong[start : start + losses, ramp] = True
        start += count
    errors[start : start + 11, 0], wrong[start : start + 11, 0] = 0.255, True  # the border of the region: 11 more of
    errors[start + 11 : start + 22, 1], wrong[start + 11 : start + 22, 1] = 0.355, True  # 1000 wrong is too many
    return evidence(errors, wrong), np.array([5 / 16 + 0.014, 9 / 16 + 0.028, 1.028]) * 16_400


def test_figure_9_is_climbed_by_the_printed_path() -> None:
    rows, latency_us = figure_9()
    path = search_thresholds(rows, [0, 1], latency_us, allowed_loss=0.01).path
    printed = [(0, 0), (0, 0.1), (0.2, 0.1), (0.2, 0.3), (0.25, 0.3), (0.25, 0.35)]
    assert np.allclose(path, printed)


def test_figure_9s_latency_wins_are_the_printed_ones() -> None:
    rows, latency_us = figure_9()
    path = search_thresholds(rows, [0, 1], latency_us, allowed_loss=0.01).path
    active = np.ones(3, dtype=bool)
    wins = [
        1 - rows.latency_us(rows.first_exit(np.array([*item, np.nan]), active), latency_us) / 16_400 for item in path
    ]
    assert np.allclose(wins, [-0.028, 0.001, 0.047, 0.194, 0.269, 0.304], atol=0.001)


@st.composite
def windows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random records: ties, certain and hopeless rows, missing exits, lossless stops, sampling weights."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, ramps = draw(st.integers(1, 60)), draw(st.integers(1, 4))
    errors = np.round(rng.beta(0.7, draw(st.sampled_from([1.0, 3.0, 9.0])), (count, ramps)), draw(st.integers(1, 6)))
    errors[rng.random(errors.shape) < draw(st.sampled_from([0.0, 0.2]))] = np.inf
    errors[rng.random(errors.shape) < draw(st.sampled_from([0.0, 0.1]))] = -1.0
    wrong = (rng.random(errors.shape) < draw(st.sampled_from([0.0, 0.03, 0.3]))) & np.isfinite(errors) & (errors >= 0)
    weight = rng.choice(draw(st.sampled_from([[1.0], [4.0], [1.0, 4.0], [1.0, 2.0, 8.0]])), count)
    return errors, wrong, weight


@settings(deadline=None, max_examples=150)
@given(
    window=windows(),
    allowed=st.sampled_from([0.0, 0.01, 0.05, 0.3, 1.0]),
    rules=st.sampled_from([PAPER, PUBLIC_CODE, SearchRules(0.1, 0.001)]),
    elapsed_us=st.lists(st.floats(1.0, 1e6), min_size=5, max_size=5),
)
def test_the_climb_ends_where_the_published_loop_ends(
    window: tuple[np.ndarray, np.ndarray, np.ndarray], allowed: float, rules: SearchRules, elapsed_us: list[float]
) -> None:
    errors, wrong, weight = window
    ramps = errors.shape[1]
    latency_us = np.sort(elapsed_us)[: ramps + 1]
    latency_ns = [round((latency_u - latency_us[-1]) * 1000) for latency_u in latency_us]
    records = Records((1.0 - errors).tolist(), wrong.tolist(), weight.tolist(), latency_ns)
    rows = evidence(1.0 - (1.0 - errors), wrong, weight)
    assert search_thresholds(rows, range(ramps), latency_us, allowed, rules).thresholds == plain_climb(
        records, allowed, rules
    )


@settings(deadline=None, max_examples=60)
@given(window=windows(), allowed=st.sampled_from([0.0, 0.02, 0.1]))
def test_the_allowed_loss_holds_on_the_searched_rows(
    window: tuple[np.ndarray, np.ndarray, np.ndarray], allowed: float
) -> None:
    rows = evidence(*window)
    ramps = rows.errors.shape[1] - 1
    thresholds = search_thresholds(rows, range(ramps), np.arange(1.0, ramps + 2), allowed).thresholds
    first = rows.first_exit(np.array([*thresholds, np.nan]), np.ones(ramps + 1, dtype=bool))
    assert rows.loss(first) <= allowed + 1e-9


@settings(deadline=None, max_examples=60)
@given(window=windows(), allowed=st.sampled_from([0.0, 0.02, 0.1]))
def test_no_threshold_can_be_raised_by_the_floor_step(
    window: tuple[np.ndarray, np.ndarray, np.ndarray], allowed: float
) -> None:
    rows = evidence(*window)
    ramps = rows.errors.shape[1] - 1
    thresholds = search_thresholds(rows, range(ramps), np.arange(1.0, ramps + 2), allowed, PAPER).thresholds
    for ramp in range(ramps):
        raised = np.array([*thresholds, np.nan])
        raised[ramp] += PAPER.floor_step
        first = rows.first_exit(np.minimum(raised, 1.0), np.ones(ramps + 1, dtype=bool))
        assert thresholds[ramp] == 1.0 or rows.loss(first) > allowed


def test_no_rows_open_no_threshold() -> None:
    none = evidence(np.zeros((0, 2)), np.zeros((0, 2), dtype=bool))
    assert search_thresholds(none, [0, 1], np.array([1.0, 2.0, 3.0]), 0.01).thresholds == (0.0, 0.0)


def test_a_threshold_is_strict() -> None:
    rows = evidence(np.array([[0.25]]), np.zeros((1, 1), dtype=bool))
    both = np.ones(2, dtype=bool)
    assert rows.first_exit(np.array([0.25, np.nan]), both).tolist() == [1]
    assert rows.first_exit(np.array([0.2500001, np.nan]), both).tolist() == [0]


COSTS = Costs(np.array([1.0, 2.0, 3.0]), np.zeros(3))


def test_an_exit_just_activated_is_not_opened_before_rows_were_seen_there() -> None:
    errors = np.full((64, 2), 0.05)
    errors[:54, 1] = np.inf
    active = np.ones(3, dtype=bool)
    thresholds = searched_thresholds(evidence(errors, np.zeros((64, 2), dtype=bool)), COSTS, active, 0.01, PAPER)
    assert thresholds[0] > 0 and thresholds[1] == 0 and np.isnan(thresholds[2])


def test_an_inactive_exit_is_not_opened() -> None:
    rows = evidence(np.full((64, 2), 0.05), np.zeros((64, 2), dtype=bool))
    thresholds = searched_thresholds(rows, COSTS, np.array([False, True, True]), 0.01, PAPER)
    assert thresholds[0] == 0 and thresholds[1] > 0


def test_a_row_that_left_losslessly_leaves_there_under_every_threshold() -> None:
    feedback = Feedback.observed(np.ones((4, 3), dtype=int), np.full((4, 3), 0.5))
    feedback.reason[2], feedback.exit[2] = Reason.LOSSLESS, 1
    first = Evidence.of(feedback).first_exit(np.zeros(3), np.ones(3, dtype=bool))
    assert first.tolist() == [2, 2, 1, 2]


@pytest.mark.parametrize("reason", [Reason.DEADLINE, Reason.DEGRADED])
def test_rows_outside_the_promise_are_no_evidence(reason: Reason) -> None:
    feedback = Feedback.observed(np.ones((4, 3), dtype=int), np.full((4, 3), 0.5))
    feedback.reason[0], feedback.never[1] = reason, True
    assert len(Evidence.of(feedback)) == 2


def test_a_sampled_row_counts_for_all_that_it_stands_for() -> None:
    feedback = Feedback.observed(np.array([[0, 1], [1, 1]]), np.full((2, 2), 0.9))
    feedback.q[0] = 0.25
    assert Evidence.of(feedback).loss(np.zeros(2, dtype=int)) == 0.8
