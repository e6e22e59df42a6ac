"""References in hindsight: nothing fixed is better than the best fixed thresholds, nothing at all than the oracle."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.comparison.made_stream import made_stream
from exeunt.manifest import Costs
from exeunt.replay.hindsight import Fixed, answer_fixed, answer_oracle, best_fixed
from exeunt.replay.run import excess, losses_of, result_of, worst_window
from exeunt.replay.stream import VoteStream

COSTS = Costs(np.array([10.0, 25.0, 60.0, 100.0]), np.array([1.0, 2.0, 1.0, 0.0]))


def stream(rows: int, seed: int, exits: int = 4, ties: bool = False) -> VoteStream:
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random((rows, exits)) < np.linspace(0.35, 0.05, exits), 1, 0)
    labels[:, -1] = 0
    hard = rng.random((rows, 1))
    confidence = np.clip(1 - 0.5 * hard * (1 + labels) + 0.1 * rng.standard_normal((rows, exits)), 0.05, 1.0)
    if ties:
        confidence = np.round(confidence, 1)
    certain = np.where(rng.random(rows) < 0.3, 2, exits - 1)
    labels[certain == 2, 2] = 0
    return made_stream("random", labels, confidence, certain, seed=seed)


def judged(stream: VoteStream, fixed: Fixed, lossless: bool) -> tuple[float, int]:
    run = answer_fixed(stream, fixed, COSTS, lossless)
    return float(run.latency_us.mean()), int(losses_of(stream, run).sum())


def by_brute_force(stream: VoteStream, max_loss: float, lossless: bool) -> float:
    """Least mean latency over every vector of thresholds that lie just above some row's score."""
    scores = np.float32(1.0) - stream.rows.confidence[:, :-1]
    candidates = [[0.0, *np.nextafter(np.unique(scores[:, k]), np.float32(2)).tolist()] for k in range(3)]
    best = np.inf
    for offered in itertools.product((False, True), repeat=3):
        active = np.array([*offered, True])
        choices = [candidates[k] if offered[k] else [0.0] for k in range(3)]
        for thresholds in itertools.product(*choices):
            latency, lost = judged(stream, Fixed(np.array([*thresholds, 0.0]), active, True), lossless)
            if lost <= max_loss * len(stream):
                best = min(best, latency)
    return best


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_no_fixed_thresholds_beat_the_best_fixed_ones(seed: int, ties: bool) -> None:
    recorded = stream(rows=11, seed=seed, ties=ties)
    for max_loss, lossless in ((0.0, False), (0.2, True)):
        fixed = best_fixed(recorded, COSTS, max_loss, lossless)
        latency, lost = judged(recorded, fixed, lossless)
        assert fixed.exact
        assert lost <= max_loss * len(recorded)
        assert latency == pytest.approx(by_brute_force(recorded, max_loss, lossless))


@given(st.integers(0, 10_000), st.floats(0.0, 0.1), st.booleans())
@settings(max_examples=25, deadline=None)
def test_no_random_thresholds_within_the_loss_beat_the_best_fixed_ones(seed: int, max_loss: float, ties: bool) -> None:
    recorded = stream(rows=300, seed=seed, ties=ties)
    best, lost = judged(recorded, best_fixed(recorded, COSTS, max_loss, True), True)
    assert lost <= max_loss * len(recorded) + 1e-6
    rng = np.random.default_rng(seed)
    for _ in range(40):
        thresholds = np.append(rng.random(3) ** 2 * 0.5, 0.0)
        active = np.append(rng.random(3) < 0.7, True)
        latency, lost = judged(recorded, Fixed(thresholds, active, True), True)
        assert lost > max_loss * len(recorded) or latency >= best - 1e-9


def test_a_beam_on_many_exits_says_so_and_keeps_the_loss() -> None:
    exits = 7
    recorded = stream(rows=400, seed=1, exits=exits)
    costs = Costs(np.linspace(10.0, 100.0, exits), np.zeros(exits))
    fixed = best_fixed(recorded, costs, 0.05, lossless=False)
    run = answer_fixed(recorded, fixed, costs, lossless=False)
    assert not fixed.exact
    assert losses_of(recorded, run).mean() <= 0.05


def test_the_oracle_loses_nothing_and_nobody_leaves_earlier_without_loss() -> None:
    recorded = stream(rows=500, seed=7)
    run = answer_oracle(recorded, COSTS)
    earlier = np.arange(recorded.exits)[None, :] < run.exit[:, None]
    assert not losses_of(recorded, run).any()
    assert recorded.wrong[earlier].all()


def test_without_any_loss_allowed_the_rows_surer_than_the_surest_wrong_one_leave() -> None:
    confidence = np.array([[0.9, 1.0], [0.8, 1.0], [0.7, 1.0]])
    recorded = made_stream("small", np.array([[0, 0], [1, 0], [0, 0]]), confidence, np.full(3, 1))
    costs = Costs(np.array([10.0, 100.0]), np.zeros(2))
    run = answer_fixed(recorded, best_fixed(recorded, costs, 0.0, lossless=False), costs, lossless=False)
    assert run.exit.tolist() == [0, 1, 1]


def test_the_worst_window_is_found_wherever_it_lies() -> None:
    lost = np.zeros(5000, dtype=bool)
    lost[3100:3150] = True
    assert worst_window(lost, 1000) == 0.05
    assert worst_window(lost[3100:3150], 1000) == 1.0


def test_excess_counts_losses_above_the_promise_after_every_answer() -> None:
    np.testing.assert_allclose(excess(np.array([True, False, True]), 0.5), [0.5, 0.0, 0.5])


def test_a_result_counts_answers_losses_and_latency_as_shares() -> None:
    recorded = stream(rows=400, seed=9)
    run = answer_fixed(
        recorded, Fixed(np.array([2.0, 0, 0, 0]), np.array([True, False, False, True]), True), COSTS, False
    )
    result = result_of(recorded, run, COSTS, max_loss=0.01)
    assert result.answers == [1.0, 0.0, 0.0, 0.0]
    assert result.mean_latency == pytest.approx(0.11)
    assert result.loss == pytest.approx(recorded.wrong[:, 0].mean())
    assert result.violations > 0
