from __future__ import annotations

import numpy as np
import pytest

from exeunt.contract import features_name, votes_name
from exeunt.deciding.heads import Head
from exeunt.errors import ConfigError
from exeunt_export.onnxfiles import open_in_memory
from exeunt_export.ramps.heads import build_heads
from exeunt_export.ramps.train import train

CLASSES, WIDTH = 5, 24
RNG = np.random.default_rng(0)
TEACHER = RNG.normal(size=(WIDTH, CLASSES))


def teaching(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features with odd offsets and scales, and the soft vote of a linear teacher."""
    z = np.random.default_rng(seed).normal(size=(rows, WIDTH))
    powers = np.exp(z @ TEACHER)
    features = z * np.logspace(-3, 3, WIDTH) + np.linspace(-1e3, 1e3, WIDTH)
    return features.astype(np.float32), (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def test_a_ramp_learns_what_the_full_vote_says() -> None:
    features, vote = teaching(600, seed=1)
    ramp = train({("a", 1): features}, vote, seed=0)["a", 1]
    unseen, expected = teaching(500, seed=2)
    agrees = ramp.probabilities(unseen).argmax(axis=1) == expected.argmax(axis=1)
    assert agrees.mean() > 0.85


def test_the_same_seed_gives_the_same_ramps() -> None:
    features, vote = teaching(80, seed=1)
    one, two = (train({("a", 1): features}, vote, seed=3)["a", 1] for _ in range(2))
    np.testing.assert_array_equal(one.weight, two.weight)
    np.testing.assert_array_equal(one.bias, two.bias)


def test_a_ramp_does_not_depend_on_the_others() -> None:
    features, vote = teaching(80, seed=1)
    alone = train({("a", 1): features}, vote, seed=3)["a", 1]
    together = train({("b", 2): features[:, :7], ("a", 1): features}, vote, seed=3)["a", 1]
    np.testing.assert_allclose(alone.weight, together.weight, rtol=1e-4, atol=1e-6)


def test_a_feature_that_never_moved_is_ignored() -> None:
    features, vote = teaching(80, seed=1)
    features[:, 3] = 7.0
    ramp = train({("a", 1): features}, vote, seed=0)["a", 1]
    assert not ramp.weight[3].any()


def test_a_ramp_of_noise_stays_unsure() -> None:
    _, vote = teaching(200, seed=1)
    noise = np.random.default_rng(5).normal(size=(400, WIDTH)).astype(np.float32)
    ramp = train({("a", 1): noise[:200]}, vote, seed=0)["a", 1]
    assert ramp.probabilities(noise[200:]).max(axis=1).mean() < 0.6


def test_progress_is_told_to_the_end() -> None:
    features, vote = teaching(60, seed=1)
    items: list[tuple[int, int]] = []
    train({("a", 1): features}, vote, seed=0, progress=lambda steps, of: items.append((steps, of)))
    assert items[-1][0] == items[-1][1] == len(items)


def test_too_few_rows_and_infinite_features_are_refused() -> None:
    features, vote = teaching(30, seed=1)
    with pytest.raises(ConfigError, match="10 rows are left"):
        train({("a", 1): features[:10]}, vote[:10], seed=0)
    features[0, 0] = np.inf
    with pytest.raises(ConfigError, match="member a, cut 1 gives features that are not finite"):
        train({("a", 1): features}, vote, seed=0)


def test_the_heads_of_an_exit_are_its_ramps() -> None:
    rng = np.random.default_rng(0)
    ramps = {
        (name, depth): Head(
            rng.normal(size=(f, CLASSES)).astype(np.float32), rng.normal(size=CLASSES).astype(np.float32)
        )
        for name, depth, f in (("a", 1, 3), ("b", 2, 6))
    }
    session = open_in_memory(build_heads("heads", ramps), "heads")
    fed = {
        features_name(*key): rng.normal(size=(4, len(ramp.weight))).astype(np.float32) for key, ramp in ramps.items()
    }
    names = [output.name for output in session.get_outputs()]
    assert names == [votes_name(*key) for key in ramps]
    for probabilities, (key, ramp) in zip(session.run(names, fed), ramps.items(), strict=True):
        np.testing.assert_allclose(probabilities, ramp.probabilities(fed[features_name(*key)]), rtol=1e-4, atol=1e-6)


def test_rows_that_are_few_are_fitted_in_the_space_that_they_span() -> None:
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(60, 300)) + 3).astype(np.float32)
    vote = rng.dirichlet(np.full(40, 0.1), size=60).astype(np.float32)
    inside = train({("a", 1): features}, vote, seed=0)["a", 1]
    plain = train({("a", 1): features}, vote, seed=0, chunk_rows=32)["a", 1]  # in chunks they are not
    np.testing.assert_allclose(inside.probabilities(features), plain.probabilities(features), atol=1e-3)
    unseen = (rng.normal(size=(50, 300)) + 3).astype(np.float32)
    np.testing.assert_allclose(inside.probabilities(unseen), plain.probabilities(unseen), atol=5e-3)
