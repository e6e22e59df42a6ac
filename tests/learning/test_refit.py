"""Refitting a head."""

from __future__ import annotations

import numpy as np

from exeunt.deciding.heads import Head
from exeunt.learning.refit import Refit, refit
from tests.learning.world import STRUCTURE, WIDTH, Clock, exported, served, softmax

PAIR = (0, 1)


def fit(rows: int, seed: int = 0, clock: Clock | None = None, until_s: float = 1.0, head: Head | None = None) -> Refit:
    served_rows = served(rows, seed)
    weights = np.ones(rows, dtype=np.float32)
    head = head or exported()[PAIR]
    target = STRUCTURE.full_vote(served_rows)
    return refit(head, served_rows.features[PAIR], target, weights, clock_s=clock or Clock(), until_s=until_s)


def agreement(head: Head, seed: int = 99) -> float:
    rows = served(2000, seed)
    return float((head.probabilities(rows.features[PAIR].astype(np.float32)).argmax(axis=1) == rows.labels).mean())


def test_a_new_head_agrees_more_with_the_full_vote_on_rows_it_has_not_seen() -> None:
    head = fit(600).head
    assert head is not None
    assert agreement(head) > agreement(exported()[PAIR]) + 0.1


def test_a_head_that_is_as_good_as_can_be_is_left_alone() -> None:
    best = fit(4000).head
    assert best is not None
    again = fit(300, seed=1, head=best)
    assert again.head is None or agreement(again.head) > agreement(best) - 0.01


def test_too_few_rows_change_nothing() -> None:
    assert fit(40).head is None


def test_a_fit_ends_when_its_time_is_over() -> None:
    short, long = (fit(600, clock=Clock(1.0), until_s=until_s).steps for until_s in (5.0, 1000.0))
    assert short <= 5 < long


def test_columns_of_classes_that_nobody_votes_for_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((400, WIDTH)).astype(np.float32)
    target = np.zeros((400, 6), dtype=np.float32)
    target[:, :4] = softmax(3 * features[:, :4])
    head = exported()[PAIR]
    new = refit(head, features, target, np.ones(400, dtype=np.float32), clock_s=Clock(), until_s=1.0).head
    assert new is not None
    np.testing.assert_array_equal(new.weight[:, 4:], head.weight[:, 4:])
    assert not np.array_equal(new.weight[:, :4], head.weight[:, :4])


def test_rows_that_are_not_finite_are_left_out() -> None:
    served_rows = served(400, 0)
    features = served_rows.features[PAIR].astype(np.float32)
    features[::7] = np.nan
    target, weights = STRUCTURE.full_vote(served_rows), np.ones(400, dtype=np.float32)
    new = refit(exported()[PAIR], features, target, weights, clock_s=Clock(), until_s=1.0).head
    assert new is not None and np.isfinite(new.weight).all()


def test_the_loss_of_the_returned_head_is_the_one_that_was_found() -> None:
    served_rows = served(600, 0)
    new_fit = fit(600)
    assert new_fit.head is not None
    held_out = slice(480, None)
    probabilities = new_fit.head.probabilities(served_rows.features[PAIR][held_out].astype(np.float32))
    loss = -(STRUCTURE.full_vote(served_rows)[held_out] * np.log(probabilities)).sum(axis=1).mean()
    assert np.isclose(loss, new_fit.after, atol=1e-3)
