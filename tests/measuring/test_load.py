from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.errors import RequestError
from exeunt.measuring.arrivals import poisson, take_turns
from exeunt.measuring.load import LoadRun, RequestOutcome, Traffic
from exeunt.measuring.plots import moving_mean
from exeunt.measuring.summary import UNANSWERED, agreement, disagreement, percentiles, stream_labels, summarise
from exeunt_client.answers import Answers


def outcome(request: int, label: int, latency_s: float = 0.01, exit_: int = 0, reason: int = 1) -> RequestOutcome:
    answers = Answers(
        labels=np.array([label]),
        probabilities=np.ones((1, 1), dtype=np.float32),
        exits=np.array([exit_]),
        reasons=np.array([reason]),
        risks=np.zeros(1),
    )
    return RequestOutcome(request, request, request, request + 0.001, request + latency_s, answers, "")


def failed(request: int) -> RequestOutcome:
    return RequestOutcome(request, request, request, request, request + 9.0, None, "boom")


def test_a_seed_fixes_the_arrivals() -> None:
    assert np.array_equal(poisson(10, 50, seed=3), poisson(10, 50, seed=3))
    assert not np.array_equal(poisson(10, 50, seed=3), poisson(10, 50, seed=4))


def test_poisson_gaps_have_the_mean_and_the_spread_of_their_rate() -> None:
    gaps = np.diff(poisson(20, 20_000, seed=1))
    assert gaps.mean() == pytest.approx(1 / 20, rel=0.03)
    assert gaps.std() == pytest.approx(1 / 20, rel=0.03)


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(RequestError, match="rate_per_s"):
        poisson(0, 5, seed=0)


@given(
    gaps=st.lists(st.floats(0.001, 3), min_size=1, max_size=60),
    models=st.integers(1, 4),
    block_s=st.floats(0.1, 5),
)
def test_every_model_gets_every_arrival_once_and_in_order(gaps: list[float], models: int, block_s: float) -> None:
    arrivals = np.cumsum(gaps)
    names = [f"m{number}" for number in range(models)]
    blocks = take_turns(names, arrivals, block_s)
    for name in names:
        mine = [block for block in blocks if block.model == name]
        assert np.concatenate([block.requests for block in mine]).tolist() == list(range(len(arrivals)))
        assert np.allclose(np.concatenate([block.offsets_s + block.stream_s for block in mine]), arrivals)
        assert all((block.offsets_s >= -1e-9).all() and (block.offsets_s <= block_s + 1e-9).all() for block in mine)


def test_who_begins_changes_from_block_to_block() -> None:
    blocks = take_turns(["a", "b"], np.array([0.5, 1.5, 2.5]), block_s=1.0)
    assert [block.model for block in blocks] == ["a", "b", "b", "a", "a", "b"]


def test_a_request_takes_its_own_rows() -> None:
    traffic = Traffic({"image": np.arange(10)}, rows=3)
    assert traffic.requests == 3
    assert traffic.request(2)["image"].tolist() == [6, 7, 8]


def test_latency_counts_from_the_scheduled_arrival() -> None:
    run = LoadRun({"m": [outcome(0, 1, latency_s=0.5)]}, {"m": 1.0})
    assert summarise(run, "m").p50_ms == pytest.approx(500)
    assert summarise(run, "m").late_p99_ms == pytest.approx(1)


def test_failures_are_counted_and_not_dropped() -> None:
    summary = summarise(LoadRun({"m": [outcome(0, 1), failed(1)]}, {"m": 2.0}), "m")
    assert (summary.requests, summary.failed, summary.first_error, summary.rows_per_s) == (2, 1, "boom", 0.5)


def test_nothing_answered_has_no_latency_and_no_accuracy() -> None:
    table = summarise(LoadRun({"m": [failed(0)]}, {"m": 9.0}), "m", truth=np.array([1])).to_mapping()
    assert table["p99_ms"] is None and table["accuracy"] is None and table["failed"] == 1


def test_shares_are_told_per_exit_and_reason() -> None:
    outcomes = [outcome(0, 1), outcome(1, 1), outcome(2, 1, exit_=3, reason=0), outcome(3, 1, exit_=2, reason=2)]
    summary = summarise(LoadRun({"m": outcomes}, {"m": 1.0}), "m")
    assert summary.exits == {0: 0.5, 2: 0.25, 3: 0.25}
    assert summary.reasons == {"full": 0.25, "early": 0.5, "lossless": 0.25}


def test_a_model_without_exits_has_no_shares() -> None:
    summary = summarise(LoadRun({"m": [outcome(0, 1, exit_=-1, reason=0)]}, {"m": 1.0}), "m")
    assert summary.exits == {} and summary.reasons == {}


def test_loss_counts_only_rows_that_both_models_answered() -> None:
    labels = stream_labels([outcome(0, 1), outcome(1, 2), failed(2), outcome(3, 4)])
    assert labels.tolist() == [1, 2, UNANSWERED, 4]
    assert disagreement(labels, np.array([1, 3, 3, UNANSWERED])) == 0.5


def test_no_row_in_common_is_no_loss_figure() -> None:
    assert agreement(np.array([UNANSWERED]), np.array([1])) is None


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_a_percentile_really_occurred_and_leaves_enough_below(values: list[float]) -> None:
    (p95,) = percentiles(np.array(values), (95,))
    assert p95 in values
    assert np.mean(np.array(values) <= p95) >= 0.95 * (1 - 1 / len(values))


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 70))
def test_a_moving_mean_is_the_mean_of_the_newest_rows(flags: list[bool], window: int) -> None:
    expected = [np.mean(flags[max(0, end - window) : end]) for end in range(1, len(flags) + 1)]
    assert np.allclose(moving_mean(np.array(flags), window), expected)
