"""A bag of two members with ramps, and streams of rows on which its exported heads are poor, for tests of learning."""

from __future__ import annotations

import numpy as np

from exeunt.deciding.heads import Head
from exeunt.learning.rows import ServedRows, half, logs_of
from exeunt.learning.vote_structure import VoteStructure

CLASSES, WIDTH = 6, 12
PAIRS = ((0, 1), (1, 1))
STRUCTURE = VoteStructure(
    (2, 2), (0.5, 0.5), ((1, 0), (1, 1), (2, 1), (2, 2)), ((1.0,), (1.0, 1.0), (1.0, 1.0), (1.0, 1.0)), "soft", "margin"
)


def exported(seed: int = 0) -> dict[tuple[int, int], Head]:
    """Heads that know little: a blurred version of what the features mean."""
    rng = np.random.default_rng(seed)
    heads = {}
    for number, pair in enumerate(PAIRS):
        weight = 0.5 * meaning(number) + 0.7 * rng.standard_normal((WIDTH, CLASSES))
        heads[pair] = Head(weight.astype(np.float32), np.zeros(CLASSES, dtype=np.float32))
    return heads


def meaning(number: int) -> np.ndarray:
    """What the features of a ramp mean; [WIDTH, CLASSES]."""
    return np.random.default_rng([5, number]).standard_normal((WIDTH, CLASSES))


def served(rows: int, seed: int, *, first_us: int = 0, turn: float = 0.0) -> ServedRows:
    """Rows whose members vote by the features, with noise; `turn` changes what the features mean."""
    rng = np.random.default_rng([7, seed])
    features, votes = {}, []
    base = rng.standard_normal((rows, WIDTH))
    for number, pair in enumerate(PAIRS):
        noisy_base = base + 0.3 * rng.standard_normal((rows, WIDTH))
        features[pair] = half(noisy_base)
        weight = meaning(number) + turn * np.random.default_rng([9, number]).standard_normal((WIDTH, CLASSES))
        votes.append(softmax(2.0 * (base @ weight) + 0.3 * rng.standard_normal((rows, CLASSES))))
    full = np.mean(votes, axis=0)
    return ServedRows(
        features=features,
        logs=logs_of(np.stack(votes, axis=1).astype(np.float32)),
        labels=full.argmax(axis=1).astype(np.int32),
        q=np.ones(rows, dtype=np.float32),
        numbers=np.arange(rows, dtype=np.int64),
        arrived_us=first_us + 1000 * np.arange(rows, dtype=np.int64),
    )


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


class Clock:
    """A processor's clock that runs `step_s` further at each look."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.now_s, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s
