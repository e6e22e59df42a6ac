"""Votes on many rows come in parts, and what is judged fits into memory."""

import numpy as np
import pytest

from exeunt.deciding import votes
from exeunt_export import voting

RNG = np.random.default_rng(0)
PARTS = [RNG.dirichlet(np.ones(7), 1300).astype(np.float32) for _ in range(3)]
WEIGHTS = [1.0, 2.0, 0.5]


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_a_vote_in_parts_is_the_vote(kind):
    np.testing.assert_allclose(voting.vote(PARTS, WEIGHTS, kind), votes.vote(PARTS, WEIGHTS, kind), rtol=1e-6)


def test_a_vote_on_some_rows_is_theirs():
    rows = RNG.permutation(1300)[:700]
    expected = votes.vote([part[rows] for part in PARTS], WEIGHTS)
    np.testing.assert_allclose(voting.vote(PARTS, WEIGHTS, "soft", rows), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("most_rows", "row_bytes", "most_bytes", "count"),
    [(2000, 1, 1 << 20, 1300), (500, 1, 1 << 20, 500), (2000, 1 << 10, 1 << 18, 256)],
)
def test_rows_that_are_kept_fit_and_are_spread(most_rows, row_bytes, most_bytes, count):
    rows = voting.spread_sample(np.arange(1300), most_rows, row_bytes, most_bytes)
    assert len(rows) == count
    assert (rows[0], rows[-1]) == (0, 1299)


def test_some_rows_are_always_kept():
    assert len(voting.spread_sample(np.arange(1300), 2000, 1 << 30, 1)) == 100
