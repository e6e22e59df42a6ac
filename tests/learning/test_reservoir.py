"""What the reservoir keeps, within its bounds."""

from __future__ import annotations

import dataclasses

import numpy as np

from exeunt.learning.reservoir import LatestRows, Reservoir
from exeunt.learning.rows import ServedRows
from tests.learning.world import CLASSES, served


def labelled(labels: list[int], first: int = 0) -> ServedRows:
    rows = served(len(labels), seed=first)
    numbers = first + np.arange(len(labels), dtype=np.int64)
    return dataclasses.replace(
        rows, labels=np.array(labels, dtype=np.int32), numbers=numbers, arrived_us=1000 * numbers
    )


def new_reservoir(rows: int = 12, most_bytes: int = 1 << 20, most_age_us: int = 10**9) -> Reservoir:
    return Reservoir(rows, most_bytes, most_age_us, CLASSES)


def all_rows(of: Reservoir | LatestRows) -> ServedRows:
    rows = of.rows() if isinstance(of, Reservoir) else of.rows(0)
    assert rows is not None
    return rows


def test_a_flood_of_one_class_leaves_the_others_their_places() -> None:
    reservoir = new_reservoir()
    reservoir.add(labelled([1, 2, 3, 1, 2, 3]))
    for first in range(6, 306, 30):
        reservoir.add(labelled([0] * 30, first))
    assert np.bincount(all_rows(reservoir).labels).tolist() == [6, 2, 2, 2]


def test_of_every_class_the_newest_rows_stay() -> None:
    reservoir = new_reservoir()
    for first in range(0, 60, 5):
        reservoir.add(labelled([0, 1, 2, 0, 1], first))
    rows = all_rows(reservoir)
    for label in (0, 1, 2):
        mine = rows.numbers[rows.labels == label]
        numbers = [n for n in range(60) if [0, 1, 2, 0, 1][n % 5] == label]
        assert mine.tolist() == numbers[-len(mine) :]


def test_more_rows_at_once_than_there_are_places_are_no_problem() -> None:
    reservoir = new_reservoir(rows=4)
    reservoir.add(labelled([0, 0, 0, 0]))
    reservoir.add(labelled([1, 1, 1, 1], 4))
    reservoir.add(labelled(list(range(6)) * 5, 8))
    assert len(reservoir) == 4
    assert all_rows(reservoir).numbers.min() >= 8


def test_rows_are_what_was_put_in() -> None:
    reservoir, rows = new_reservoir(), served(8, seed=3)
    reservoir.add(rows)
    for name, array in all_rows(reservoir).arrays().items():
        np.testing.assert_array_equal(array, rows.arrays()[name])


def test_the_bytes_are_a_bound_whatever_the_rows_say() -> None:
    rows = served(50, seed=1)
    reservoir = new_reservoir(rows=1000, most_bytes=10 * rows.row_bytes + 1)
    reservoir.add(rows)
    assert len(reservoir) == 10


def test_what_is_too_old_is_wiped() -> None:
    for buffer in (new_reservoir(most_age_us=5000), LatestRows(12, 1 << 20, 5000)):
        buffer.add(labelled([0, 1, 0, 1, 0, 1, 0, 1]))
        assert buffer.prune(now_us=9500) == 5
        assert all_rows(buffer).numbers.tolist() == [5, 6, 7]
        memory = buffer._table._arrays["features.0.1"]
        assert np.count_nonzero(memory.any(axis=1)) == 3


def test_weights_bring_back_how_often_a_class_came() -> None:
    reservoir = new_reservoir()
    rng = np.random.default_rng(0)
    for first in range(0, 400, 20):
        reservoir.add(labelled((rng.random(20) < 0.25).astype(int).tolist(), first))
    labels = all_rows(reservoir).labels
    weights = reservoir.weights(labels)
    share = weights[labels == 1].sum() / weights.sum()
    assert 0.2 < share < 0.3
    assert np.isclose(weights.mean(), 1.0)


def test_the_latest_rows_are_the_latest_whatever_their_class() -> None:
    latest = LatestRows(6, 1 << 20, 10**9)
    for first in range(0, 40, 4):
        latest.add(labelled([0, 0, 1, 0], first))
    assert all_rows(latest).numbers.tolist() == list(range(34, 40))
    assert latest.since(37) == 3
