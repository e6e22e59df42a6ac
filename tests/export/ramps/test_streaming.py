from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from exeunt.deciding.heads import Head
from exeunt.errors import ConfigError
from exeunt_export.features import Standardisation, StandardisedRows, chunks, create_mapped
from exeunt_export.ramps.train import train

CLASSES, WIDTH, CHUNK = 5, 24, 64
TEACHER = np.random.default_rng(0).normal(size=(WIDTH, CLASSES))


def teaching(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of odd offsets and scales, sorted by the label of a linear teacher, and its soft vote."""
    z = np.random.default_rng(seed).normal(size=(rows, WIDTH))
    z = z[np.argsort((z @ TEACHER).argmax(axis=1), kind="stable")]
    powers = np.exp(z @ TEACHER)
    features = z * np.logspace(-2, 2, WIDTH) + np.linspace(-10, 10, WIDTH)
    return features.astype(np.float32), (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def agreement(ramp: Head) -> float:
    unseen, expected = teaching(500, seed=2)
    return float((ramp.probabilities(unseen).argmax(axis=1) == expected.argmax(axis=1)).mean())


class Watched(np.ndarray):
    """Features that count how many rows are read at a time."""

    most_rows = 0

    def __getitem__(self, key: object) -> np.ndarray:
        rows = np.asarray(super().__getitem__(key))  # type: ignore[index]
        Watched.most_rows = max(Watched.most_rows, len(rows))
        return rows


def test_features_are_read_in_chunks() -> None:
    features, vote = teaching(400, seed=1)
    Watched.most_rows = 0
    train({("a", 1): features.view(Watched)}, vote, seed=0, chunk_rows=CHUNK)
    assert Watched.most_rows == CHUNK


def test_training_in_chunks_holds_few_of_the_features(tmp_path: Path) -> None:
    rows, width = 4000, 500
    features = create_mapped(tmp_path / "features.npy", rows, width)
    vote = np.full((rows, 2), 0.5, np.float32)
    for part in chunks(rows, 500):
        features[part] = np.random.default_rng(part.start).normal(size=(500, width))
    tracemalloc.start()  # numpy tells it of every array; mapped files are none
    train({("a", 1): features}, vote, seed=0, chunk_rows=CHUNK)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert features.nbytes == 8_000_000
    assert peak_bytes < 1_500_000


def test_ramps_trained_in_chunks_are_as_good() -> None:
    features, vote = teaching(600, seed=1)
    whole = train({("a", 1): features}, vote, seed=0)["a", 1]
    parts = train({("a", 1): features}, vote, seed=0, chunk_rows=CHUNK)["a", 1]
    assert agreement(whole) > 0.85
    assert agreement(parts) > agreement(whole) - 0.02


def test_training_in_chunks_depends_on_nothing_but_the_seed() -> None:
    features, vote = teaching(300, seed=1)
    one, two = (train({("a", 1): features}, vote, seed=3, chunk_rows=CHUNK)["a", 1] for _ in range(2))
    np.testing.assert_array_equal(one.weight, two.weight)


def test_only_the_rows_asked_for_are_trained_on() -> None:
    features, vote = teaching(200, seed=1)
    rows = np.arange(0, 200, 2)
    non_finite = features.copy()
    non_finite[1::2] = np.nan
    one = train({("a", 1): non_finite}, vote[rows], seed=0, rows=rows)["a", 1]
    two = train({("a", 1): features[rows]}, vote[rows], seed=0)["a", 1]
    np.testing.assert_array_equal(one.weight, two.weight)


def test_one_infinite_feature_in_any_chunk_is_refused() -> None:
    for row in (3, 250, 399):
        features, vote = teaching(400, seed=1)
        features[row, 7] = np.inf
        with pytest.raises(ConfigError, match="member a, cut 2 gives features that are not finite"):
            train({("a", 2): features}, vote, seed=0, chunk_rows=CHUNK)


def test_mean_and_deviation_are_those_of_all_rows_at_once() -> None:
    features, _ = teaching(300, seed=1)
    rows = np.arange(20, 300)
    standard = Standardisation.of(features, rows, chunk_rows=7)
    np.testing.assert_allclose(standard.mean, features[rows].mean(axis=0, dtype=np.float64), rtol=1e-9)
    np.testing.assert_allclose(standard.scale, 1 / features[rows].std(axis=0, dtype=np.float64), rtol=1e-6)


def test_standardised_rows_come_in_their_order_again_and_again(tmp_path: Path) -> None:
    features, _ = teaching(50, seed=1)
    order = np.random.default_rng(0).permutation(50)
    plain = Standardisation(np.zeros(WIDTH), np.ones(WIDTH))
    for chunk_rows, count in ((50, 1), (20, 3)):
        rows = StandardisedRows(features, order, plain, chunk_rows, tmp_path / "x.npy")
        for _ in range(2):
            read = list(rows.chunks())
            assert len(read) == count
            np.testing.assert_array_equal(np.concatenate(read), features[order])


def test_a_head_on_standardised_features_is_folded_into_one_on_features(tmp_path: Path) -> None:
    features, _ = teaching(50, seed=1)
    standard = Standardisation.of(features, np.arange(50), chunk_rows=50)
    weight, bias = TEACHER.astype(np.float32), np.arange(CLASSES, dtype=np.float32)
    expected = standard.apply(features) @ weight + bias
    np.testing.assert_allclose(standard.fold_into_head(weight, bias).scores(features), expected, rtol=1e-4, atol=1e-3)
