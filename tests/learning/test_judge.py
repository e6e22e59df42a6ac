"""The judge of heads."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from exeunt.deciding.heads import Head
from exeunt.learning.judge import judge, may_leave
from exeunt.learning.refit import refit
from tests.learning.world import CLASSES, PAIRS, STRUCTURE, Clock, exported, served


def learnt(rows: int = 1500, seed: int = 0) -> dict[tuple[int, int], Head]:
    served_rows = served(rows, seed)
    weights, heads = np.ones(rows, dtype=np.float32), {}
    for pair, head in exported().items():
        fit = refit(
            head, served_rows.features[pair], STRUCTURE.full_vote(served_rows), weights, clock_s=Clock(), until_s=1.0
        )
        assert fit.head is not None
        heads[pair] = fit.head
    return heads


def random_heads(seed: int) -> dict[tuple[int, int], Head]:
    rng = np.random.default_rng(seed)
    shapes = {pair: head.weight.shape for pair, head in exported().items()}
    return {
        pair: Head(rng.standard_normal(s).astype(np.float32), np.zeros(CLASSES, np.float32))
        for pair, s in shapes.items()
    }


def test_better_heads_are_taken() -> None:
    verdict = judge(STRUCTURE, served(800, 5), exported(), learnt(), 0.02, np.random.default_rng(0))
    assert verdict.pairs == PAIRS
    assert np.nanmax(verdict.gains) > 0.05


def test_worse_heads_are_refused() -> None:
    good = learnt()
    for seed in range(20):
        assert not judge(STRUCTURE, served(400, seed), good, random_heads(seed), 0.02, np.random.default_rng(0)).pairs


def test_the_same_heads_are_no_change() -> None:
    good = learnt()
    assert not judge(STRUCTURE, served(800, 5), good, dict(good), 0.02, np.random.default_rng(0)).pairs


def test_a_bad_head_does_not_take_a_good_one_with_it() -> None:
    new = {(0, 1): learnt()[0, 1], (1, 1): random_heads(3)[1, 1]}
    now = {(0, 1): exported()[0, 1], (1, 1): learnt()[1, 1]}
    shape_apart = STRUCTURE.__class__(
        (2, 2), (0.5, 0.5), ((1, 0), (0, 1), (2, 2)), ((1.0,), (1.0,), (1.0, 1.0)), "soft", "margin"
    )
    verdict = judge(shape_apart, served(800, 5), now, new, 0.02, np.random.default_rng(0))
    assert verdict.pairs == ((0, 1),)


def test_heads_of_chance_are_hardly_ever_taken() -> None:
    acceptances = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        near = {
            pair: Head((head.weight + 0.05 * rng.standard_normal(head.weight.shape)).astype(np.float32), head.bias)
            for pair, head in exported().items()
        }
        acceptances += bool(judge(STRUCTURE, served(300, seed), exported(), near, 0.02, rng).pairs)
    assert acceptances <= 6


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.sampled_from([1.0, 2.0, 5.0])), min_size=1, max_size=40),
    st.floats(0, 0.5),
)
def test_what_may_leave_is_what_the_best_threshold_would_let_leave(
    rows: list[tuple[float, bool, float]], eps: float
) -> None:
    confidence, wrong, weights = (np.array(column) for column in zip(*rows, strict=True))
    order = np.argsort(-confidence, kind="stable")
    best = 0.0
    for count in range(1, len(rows) + 1):
        most_certain = order[:count]
        if weights[most_certain][wrong[most_certain]].sum() <= eps * weights.sum() + 1e-9:
            best = max(best, weights[most_certain].sum() / weights.sum())
    assert np.isclose(may_leave(confidence, wrong, weights[None], eps)[0], best)
