"""Heads: linear layers of the ramps that a server has learnt in service; a ticket keeps those it was admitted with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

Pair = tuple[int, int]  # (member, depth)


@dataclass(frozen=True, slots=True)
class Head:
    """A ramp's linear layer: softmax(features @ weight + bias).

    Attributes:
        weight: float32 [f, classes].
        bias: float32 [classes].
    """

    weight: np.ndarray
    bias: np.ndarray

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Log-odds up to a constant, float32 [rows, classes], of features float32 [rows, f]."""
        return np.asarray(features @ self.weight + self.bias)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Class probabilities, float32 [rows, classes], of features float32 [rows, f]."""
        scores = self.scores(features)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Heads:
    """What the exits' ramps are run with in place of the exported heads; never changed.

    Attributes:
        version: grows by one with every change; 0 = as exported.
        table: (member, depth) -> its head; ramps that are not in it are as exported.
    """

    version: int = 0
    table: Mapping[Pair, Head] = field(default_factory=dict)

    def exits(self, depths: list[tuple[int, ...]], other: Heads) -> np.ndarray:
        """Exits whose vote is not the same with `other` heads; bool [exits].

        Args:
            depths: of every exit.
            other: heads of the same bag.
        """
        pairs = self.table.keys() | other.table.keys()
        changed = {pair for pair in pairs if self.table.get(pair) is not other.table.get(pair)}
        return np.array([any((m, d) in changed for m, d in enumerate(exit_)) for exit_ in depths], dtype=bool)


EXPORTED = Heads()
