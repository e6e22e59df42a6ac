"""Late tosses: answered rows are tossed when they are about to run on, and the promise's arithmetic stays right."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.contract import Reason
from exeunt.deciding.batch import Batch
from exeunt.deciding.decisions import Decisions
from exeunt.deciding.votes import ExitVotes
from exeunt.settings import Settings
from exeunt.tuning.error_budget.class_budget import deviation
from tests.tuning.error_budget.world import tuner

EXITS = 2
CAP = 32


class Stream:
    """Batches around one decision core. The adversary makes any share of the rows that leave early a loss.

    It knows every earlier coin and chooses when rows are tossed and with which q, but not what their coins will say.
    """

    def __init__(self, seed: int, eps: float, lossy: float, **value: object) -> None:
        self.rng = np.random.default_rng(seed)
        self.tuner = tuner(exits=EXITS, eps=eps, most_unconfirmed=CAP, calibration_rows=16, half_life_rows=2000.0)
        stream_settings = dataclasses.replace(Settings(lossless=False), **value)
        self.core = Decisions(stream_settings, EXITS, self.tuner, self._toss)
        self.core.changes.set_late_tossing(True)
        self.account = self.tuner.budget.classes[0]
        self.flying: list[tuple[Batch, np.ndarray]] = []
        self.lossy = lossy
        self.early = self.true_losses = 0
        self.booked = 0.0
        self._admitted = 0

    def _toss(self, batch: Batch, rows: np.ndarray, q: float) -> tuple[float, np.ndarray] | None:
        return None if q >= 1 else (q, self.rng.random(len(rows)) < q)

    def admit(self, rows: int) -> None:
        """A batch comes; those of its rows that the tuner lets leave early do, some of them as losses."""
        nobody = np.zeros(rows, dtype=bool)
        batch = Batch(self._admitted, EXITS, nobody, np.full(rows, np.inf, np.float32), np.zeros(rows, np.int16))
        self._admitted += 1
        sure = ExitVotes(np.ones(rows, np.int32), np.full(rows, 0.999, np.float32))
        early_rows = self.core.complete(batch, 0, sure)
        full = np.ones(rows, dtype=np.int32)
        lost = early_rows[self.rng.random(len(early_rows)) < self.lossy]
        full[lost] = 2
        self.early += len(early_rows)
        self.true_losses += len(lost)
        self.flying.append((batch, full))

    def toss_answered(self, number: int, load_q: float) -> None:
        if self.flying:
            batch, _ = self.flying[number % len(self.flying)]
            self.core.toss_answered(batch, load_q)
            self._forget()

    def finish(self, number: int) -> None:
        if self.flying:
            batch, full = self.flying[number % len(self.flying)]
            awaited = batch.finishes & (batch.reason == Reason.EARLY)
            self.booked += float((1.0 / batch.q[awaited & (full == 2)].astype(np.float64)).sum())
            self.core.complete(batch, 1, ExitVotes(full, np.full(batch.rows, 0.999, np.float32)))
            self._forget()

    def fail(self, number: int) -> None:
        if self.flying:
            batch, _ = self.flying[number % len(self.flying)]
            awaited = batch.finishes & (batch.reason == Reason.EARLY)
            self.booked += float((1.0 / batch.q[awaited].astype(np.float64)).sum())
            self.core.fail(batch, np.arange(batch.rows))
            self._forget()

    def _forget(self) -> None:
        self.flying = [(batch, full) for batch, full in self.flying if not batch.over]

    @property
    def awaited(self) -> float:
        """Early rows that are awaited: 1 until tossed, 1 / q once chosen."""
        rows = [(batch.q, batch.finishes & (batch.reason == Reason.EARLY)) for batch, _ in self.flying]
        return sum(float((1.0 / q[waits].astype(np.float64)).sum()) for q, waits in rows)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("admit"), st.integers(1, 8)),
        st.tuples(st.just("toss_answered"), st.integers(0, 9), st.sampled_from([1.0, 0.5, 0.1])),
        st.tuples(st.just("finish"), st.integers(0, 9)),
        st.tuples(st.just("fail"), st.integers(0, 9)),
    ),
    max_size=60,
)


@given(STEPS, st.integers(0, 2**16), st.sampled_from([0.1, 0.5]), st.sampled_from([0.0, 0.3, 1.0]))
@settings(max_examples=120, deadline=None)
def test_the_account_is_right_after_whatever_happens(steps: list, seed: int, eps: float, lossy: float) -> None:
    stream = Stream(seed, eps, lossy)
    stream.account.answered(40)  # something to spend
    for name, *values in steps:
        early_before = stream.early
        getattr(stream, name)(*values)
        assert stream.account.unconfirmed == pytest.approx(stream.awaited)
        assert stream.account.losses == pytest.approx(stream.booked)
        assert stream.account.reserve <= stream.account.allowed - stream.account.losses + 1e-9
        if stream.early > early_before:
            assert stream.account.losses < stream.account.allowed  # rule 3: at every early decision
        assert stream.account.most_unconfirmed <= CAP + 1e-6
        assert not stream.account.broken


def test_an_untossed_row_counts_one_and_a_chosen_one_its_weight() -> None:
    stream = Stream(0, eps=0.5, lossy=0.0)
    stream.account.answered(40)
    stream.admit(8)
    assert stream.account.unconfirmed == stream.early == 8
    stream.toss_answered(0, 0.5)
    ((batch, _),) = stream.flying
    finishing_rows = int(batch.finishes.sum())
    assert 0 < finishing_rows < 8
    assert stream.account.unconfirmed == 2 * finishing_rows
    stream.toss_answered(0, 0.1)  # every row is tossed once
    assert stream.account.unconfirmed == 2 * finishing_rows


def test_rows_that_no_coin_chose_never_teach() -> None:
    stream = Stream(1, eps=0.5, lossy=1.0)
    learnt: list[int] = []
    stream.core.on_feedback.append(lambda feedback: learnt.append(len(feedback)))
    stream.account.answered(40)
    stream.admit(8)
    stream.toss_answered(0, 0.5)
    finishing_rows = int(stream.flying[0][0].finishes.sum())
    stream.finish(0)
    assert learnt == [finishing_rows]
    assert stream.account.losses == 2 * finishing_rows


def test_a_batch_of_which_no_row_is_chosen_is_over() -> None:
    stream = Stream(2, eps=0.5, lossy=0.0)
    stream.account.answered(40)
    stream.admit(1)
    for _ in range(200):
        stream.admit(1)
        stream.toss_answered(len(stream.flying) - 1, 0.1)
    assert all(batch.running.any() for batch, _ in stream.flying)


def test_what_is_never_tossed_is_lost_at_one_and_what_was_chosen_at_its_weight() -> None:
    stream = Stream(3, eps=0.5, lossy=0.0)
    stream.account.answered(40)
    stream.admit(8)
    stream.toss_answered(0, 0.5)
    finishing_rows = int(stream.flying[0][0].finishes.sum())
    stream.admit(3)
    for batch, _ in [*stream.flying]:
        stream.core.give_up(batch)
    assert stream.account.losses == 2 * finishing_rows + 3


@pytest.mark.parametrize(("feedback", "load_q", "q"), [("all", 0.3, 0.3), (0.4, 1.0, 0.4), (0.4, 0.2, 0.2)])
def test_q_is_what_the_load_allows_and_no_more_than_the_setting_asks_for(
    feedback: str | float, load_q: float, q: float
) -> None:
    stream = Stream(4, eps=0.5, lossy=0.0, feedback=feedback)
    assert stream.core.coins.probability(load_q) == q


def test_a_tuner_that_needs_nothing_still_gets_the_least_share() -> None:
    stream = Stream(5, eps=0.5, lossy=0.0, feedback="auto", least_finish_probability=0.25)
    stream.tuner.feedback_wanted = lambda: 0.0  # type: ignore[method-assign]
    assert stream.core.coins.probability(1.0) == 0.25


def test_with_late_tosses_true_losses_pass_the_stated_bound_no_more_often_than_stated() -> None:
    delta, passed, streams = 0.1, 0, 150
    for seed in range(streams):
        stream = Stream(seed, eps=0.3, lossy=1.0)
        for _ in range(120):
            stream.admit(int(stream.rng.integers(1, 5)))
            while len(stream.flying) > stream.rng.integers(0, 6):
                number = int(stream.rng.integers(len(stream.flying)))
                stream.toss_answered(number, float(stream.rng.choice([0.25, 0.5])))
                stream.finish(number)
        promised = stream.account.allowed + stream.account.most_unconfirmed
        passed += stream.true_losses > promised + deviation(promised, 0.25, delta)
        assert not stream.account.broken
        assert stream.true_losses > 10
    assert passed <= delta * streams


def test_auto_asks_for_all_feedback_until_the_risks_are_known_and_again_when_losses_run_high() -> None:
    stream = Stream(6, eps=0.05, lossy=0.0, feedback="auto")
    assert stream.core.coins.probability(1.0) == 1.0
    probabilities = []
    for _ in range(600):
        stream.admit(8)
        stream.toss_answered(0, 1.0)
        while stream.flying:
            stream.finish(0)
        probabilities.append(stream.core.coins.probability(1.0))
    assert min(probabilities) < 1.0
    stream.tuner.budget.classes[0].answered(1)
    for _ in range(60):
        stream.tuner.budget._lost(0, 1.0)
    assert stream.core.coins.probability(1.0) == 1.0
