"""Heads: linear layers of the ramps that a server has learnt in service; a ticket keeps those it was admitted with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from exeunt.records.feedback import NEVER_SEEN, Feedback

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
    """The heads that replace exported ones; never changed.

    Attributes:
        version: grows by one with every change; 0 = as exported.
        table: (member, depth) -> its head; ramps that are not in it are as exported.
    """

    version: int = 0
    table: Mapping[Pair, Head] = field(default_factory=dict)

    def exits(self, depths: list[tuple[int, ...]], other: Heads) -> np.ndarray:
        """Exits whose vote is not the same with `other` heads; bool [exits]."""
        pairs = self.table.keys() | other.table.keys()
        changed = {pair for pair in pairs if self.table.get(pair) is not other.table.get(pair)}
        return np.array([any((m, d) in changed for m, d in enumerate(exit_)) for exit_ in depths], dtype=bool)


EXPORTED = Heads()


class HeadsInUse:
    """The heads of new tickets, and for every exit the version in which its vote last changed.

    Attributes:
        heads: of tickets that are admitted now.
        since: per exit the version in which its vote last changed; votes of older tickets are outdated.
    """

    def __init__(self, exits: int) -> None:
        self.heads = EXPORTED
        self.since = [0] * exits

    def start(self, heads: Heads) -> None:
        """The heads of the first ticket."""
        self.heads = heads

    def change(self, heads: Heads, changed: np.ndarray) -> None:
        """Use other heads from now on; they change the votes of the exits in `changed` (bool [exits])."""
        self.heads = heads
        self.since = [heads.version if other else since for since, other in zip(self.since, changed, strict=True)]

    def without_outdated(self, feedback: Feedback, version: int) -> Feedback:
        """Feedback of a ticket with heads of this version, as if exits that have changed had not been seen."""
        outdated = np.array(self.since) > version
        labels = np.where(outdated, np.int32(NEVER_SEEN), feedback.labels)
        return replace(feedback, labels=labels, confidence=np.where(outdated, np.float32(np.nan), feedback.confidence))
