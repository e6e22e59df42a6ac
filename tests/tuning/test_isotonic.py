"""Isotonic regression."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.tuning.isotonic import isotonic, pooled

ROWS = st.lists(st.tuples(st.integers(-3, 3), st.integers(1, 5)), min_size=1, max_size=40)


def by_min_max(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Robertson, Wright and Dykstra 1988: the highest, over starts up to i, of the lowest mean over ends from i."""
    count = len(values)
    mean = {
        (s, e): np.average(values[s : e + 1], weights=weights[s : e + 1]) for e in range(count) for s in range(e + 1)
    }
    return np.array([max(min(mean[s, e] for e in range(i, count)) for s in range(i + 1)) for i in range(count)])


@given(ROWS)
@settings(max_examples=60, deadline=None)
def test_it_is_what_the_min_max_formula_says(rows: list[tuple[int, int]]) -> None:
    values, weights = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    assert isotonic(values, weights) == pytest.approx(by_min_max(values, weights))


@given(ROWS)
def test_pools_rise_and_keep_the_weighted_sum(rows: list[tuple[int, int]]) -> None:
    values, weights = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    means, starts = pooled(values, weights)
    assert (np.diff(means) > 0).all()
    assert starts[0] == 0
    assert float(means @ np.add.reduceat(weights, starts)) == pytest.approx(float(values @ weights))


def test_nothing_has_no_pools() -> None:
    assert len(isotonic(np.zeros(0), np.zeros(0))) == 0
