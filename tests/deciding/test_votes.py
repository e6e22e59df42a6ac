import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.deciding import votes
from exeunt.deciding.votes import SCORES


def probabilities(rng, rows, classes, sharpness=2.0):
    scores = np.exp(sharpness * rng.standard_normal((rows, classes)))
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


bags = st.tuples(st.integers(1, 5), st.integers(2, 6), st.integers(0, 10_000), st.sampled_from(["soft", "hard"]))


@settings(deadline=None)
@given(bags)
def test_a_vote_is_a_distribution(bag):
    members, classes, seed, kind = bag
    rng = np.random.default_rng(seed)
    vote = votes.vote([probabilities(rng, 3, classes) for _ in range(members)], rng.uniform(0.1, 9, members), kind)
    assert vote.dtype == np.float32
    np.testing.assert_allclose(vote.sum(axis=1), 1, rtol=1e-5)


@settings(deadline=None, max_examples=300)
@given(bags, st.data())
def test_the_lossless_stop_is_never_wrong(bag, data):
    members, classes, seed, kind = bag
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.1, 3, members)
    by_member = [probabilities(rng, 40, classes, sharpness=4) for _ in range(members)]
    count = data.draw(st.integers(1, members))
    certain = votes.cannot_change(by_member[:count], weights[:count], weights[count:].sum(), kind)
    full = votes.labels(votes.vote(by_member, weights, kind))
    partial = votes.labels(votes.vote(by_member[:count], weights[:count], kind))
    assert (partial[certain] == full[certain]).all()


def test_the_lossless_stop_knows_the_published_example():
    two = [np.array([[0.8, 0.0, 0.2]]), np.array([[0.55, 0.25, 0.2]])]
    assert votes.cannot_change([item.astype(np.float32) for item in two], [1, 1], 1.0, "soft").tolist() == [False]
    two[1] = np.array([[0.58, 0.1, 0.32]])
    two[0] = np.array([[0.9, 0.0, 0.1]])
    assert votes.cannot_change([item.astype(np.float32) for item in two], [1, 1], 1.0, "soft").tolist() == [True]


def test_two_of_three_equal_hard_votes_are_certain():
    same = [np.array([[0.6, 0.4]], dtype=np.float32)] * 2
    assert votes.cannot_change(same, [1, 1], 1.0, "hard").tolist() == [True]
    assert votes.cannot_change(same[:1], [1], 2.0, "hard").tolist() == [False]


def test_weights_count_as_shares():
    a, b = np.array([[1.0, 0.0]], dtype=np.float32), np.array([[0.0, 1.0]], dtype=np.float32)
    np.testing.assert_allclose(votes.vote([a, b], [3, 1]), [[0.75, 0.25]])


def test_ties_go_to_the_first_class():
    assert votes.labels(np.array([[0.5, 0.5]], dtype=np.float32)).tolist() == [0]


def test_a_vote_leaves_its_inputs_alone():
    a = np.array([[1.0, 0.0]], dtype=np.float32)
    votes.vote([a, a], [1, 1])
    assert a.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("score", SCORES)
def test_a_score_lies_in_0_1_and_is_highest_for_a_sure_vote(score):
    rng = np.random.default_rng(0)
    values = SCORES[score](probabilities(rng, 200, 5))
    sure, torn = SCORES[score](np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]], dtype=np.float32))
    assert ((values >= 0) & (values <= 1)).all() and values.dtype == np.float32
    assert sure == pytest.approx(1) and (torn == pytest.approx(0, abs=1e-6) or score == "max_probability")


@pytest.mark.parametrize("score", SCORES)
def test_nan_votes_have_nan_confidence(score):
    assert np.isnan(SCORES[score](np.full((2, 3), np.nan, dtype=np.float32))).all()


@pytest.mark.parametrize("score", SCORES)
def test_one_class_is_always_certain(score):
    assert SCORES[score](np.ones((2, 1), dtype=np.float32)).tolist() == [1, 1]
