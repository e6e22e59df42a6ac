"""Votes: who votes at an exit, their weighted mean, how sure it is, and the stop that cannot be wrong.

Confidence is a score of a vote in [0, 1]; higher means surer. NaN in, NaN out, and NaN never leaves early.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from exeunt.manifest import Manifest

LOSSLESS_SLACK = 1e-6  # above the rounding of float32 sums of probabilities


@dataclass(frozen=True, slots=True)
class ExitVotes:
    """What the vote at an exit says about the rows of a batch.

    Attributes:
        labels: int32 [rows].
        confidence: float32 [rows].
        non_finite: bool [rows], some member's output is not finite; None = nowhere.
        certain: gives, for rows (indices), whether the full vote's label is certain already, bool; None = nowhere.
    """

    labels: np.ndarray
    confidence: np.ndarray
    non_finite: np.ndarray | None = None
    certain: Callable[[np.ndarray], np.ndarray] | None = None


def vote(probabilities: Sequence[np.ndarray], weights: Sequence[float], kind: str = "soft") -> np.ndarray:
    """The members' weighted mean.

    A member whose row holds NaN or infinity does not vote on that row; where nobody is left the row is NaN.

    Args:
        probabilities: one float32 [rows, classes] per voting member, in the bag's order.
        weights: their weights, positive, any scale.
        kind: "soft" averages probabilities, "hard" counts each member's label.

    Returns:
        float32 [rows, classes].
    """
    return vote_and_non_finite(probabilities, weights, kind)[0]


def vote_and_non_finite(
    probabilities: Sequence[np.ndarray], weights: Sequence[float], kind: str = "soft"
) -> tuple[np.ndarray, np.ndarray | None]:
    """As `vote`, and the rows on which some member is not finite, bool [rows]; None, cheaply, where there is none."""
    if kind == "hard":
        probabilities = [one_hot(array) for array in probabilities]
    total = float(sum(weights))
    mean = probabilities[0] * np.float32(weights[0] / total)
    for array, weight in zip(probabilities[1:], weights[1:], strict=True):
        mean += array * np.float32(weight / total)
    if math.isfinite(mean.sum()):  # one look for all members: what is not finite makes every sum so
        return mean, None
    non_finite = np.any([~np.isfinite(array).all(axis=1) for array in probabilities], axis=0)
    _mend(mean, probabilities, weights)
    return mean, non_finite


def _mend(mean: np.ndarray, probabilities: Sequence[np.ndarray], weights: Sequence[float]) -> None:
    """Redo, in place, the rows on which some member was not finite."""
    for row in np.flatnonzero(~np.isfinite(mean).all(axis=1)):
        mean[row] = 0.0
        present = 0.0
        for array, weight in zip(probabilities, weights, strict=True):
            if np.isfinite(array[row]).all():
                mean[row] += array[row] * np.float32(weight)
                present += float(weight)
        mean[row] = mean[row] / np.float32(present) if present else np.nan


def one_hot(probabilities: np.ndarray) -> np.ndarray:
    """Each row's label as a vote of 1; float32 [rows, classes]; a row that is not finite stays NaN."""
    hard = np.zeros_like(probabilities)
    np.put_along_axis(hard, probabilities.argmax(axis=1)[:, None], 1.0, axis=1)
    hard[~np.isfinite(probabilities).all(axis=1)] = np.nan
    return hard


def labels(mean: np.ndarray) -> np.ndarray:
    """Label of each vote: the first of its highest classes, -1 where the vote is NaN; int32 [rows]."""
    highest = mean.argmax(axis=1).astype(np.int32)
    if not math.isfinite(mean.sum()):
        highest[np.isnan(mean[:, 0])] = -1
    return highest


def max_probability(vote: np.ndarray) -> np.ndarray:
    """Highest probability of each row; float32 [rows] from float32 [rows, classes] (Apparate, public code)."""
    return np.asarray(vote.max(axis=1))


def margin(vote: np.ndarray) -> np.ndarray:
    """Highest minus second highest probability of each row; float32 [rows] (CALM's softmax gap)."""
    if vote.shape[1] == 1:
        return max_probability(vote)
    two = np.partition(vote, -2, axis=1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0])


def entropy(vote: np.ndarray) -> np.ndarray:
    """1 - entropy / log(classes) of each row; float32 [rows] (BranchyNet's entropy, scaled as in FastBERT)."""
    if vote.shape[1] == 1:
        return np.where(np.isnan(vote[:, 0]), np.float32(np.nan), np.float32(1.0))
    positive = np.maximum(vote, np.finfo(np.float32).tiny)  # 0 log 0 = 0; maximum keeps NaN
    spread = -(vote * np.log(positive)).sum(axis=1) / np.float32(np.log(vote.shape[1]))
    return np.clip(np.float32(1.0) - spread, 0.0, 1.0).astype(np.float32)


SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "max_probability": max_probability,
    "margin": margin,
    "entropy": entropy,
}


def cannot_change(finished: Sequence[np.ndarray], weights: Sequence[float], missing: float, kind: str) -> np.ndarray:
    """Rows whose full vote's label is certain already: the lossless stop (reference: field survey, section 2).

    With the finished members' weighted sum s, the label top = argmax s is the full vote's whatever the missing members
    say if s[top] - s[rival] exceeds the missing weight for every rival, since each of their probabilities is in [0, 1].

    Args:
        finished: one float32 [rows, classes] per finished member.
        weights: their weights, in the same order.
        missing: summed weight of the members that have not finished, same scale.
        kind: "soft" or "hard".

    Returns:
        bool [rows]; False where a finished member's row is not finite, since the full vote then has other weights.
    """
    if kind == "hard":
        finished = [one_hot(array) for array in finished]
    total = float(sum(weights)) + missing
    summed = finished[0] * np.float32(weights[0] / total)
    for array, weight in zip(finished[1:], weights[1:], strict=True):
        summed += array * np.float32(weight / total)
    if summed.shape[1] == 1:
        return np.asarray(np.isfinite(summed[:, 0]))
    two = np.partition(summed, -2, axis=1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0] > missing / total + LOSSLESS_SLACK)


class ExitVoters:
    """Members that vote at one exit.

    Attributes:
        pairs: (member, depth) of every voting member, in the bag's order.
        weights: of their vote here, any scale.
        finished: the pairs of members that have finished.
        finished_weights: their weights, as shares of the whole bag.
        missing: summed weight of the members that have not finished, voting or not.
    """

    def __init__(self, manifest: Manifest, exit_: int) -> None:
        depths = manifest.exits[exit_].depths
        weights = manifest.weights
        voting = [member for member, depth in enumerate(depths) if depth]
        whole = [member for member in voting if depths[member] == manifest.members[member].depth]
        self.pairs = [(member, depths[member]) for member in voting]
        self.weights = manifest.exit_weights(exit_)
        self.finished = [(member, depths[member]) for member in whole]
        self.finished_weights = [float(weights[member]) for member in whole]
        self.missing = max(0.0, 1.0 - sum(self.finished_weights))

    @property
    def may_be_certain(self) -> bool:
        """Whether some votes of the finished members leave no doubt about the full vote's label."""
        return self.missing < 0.5 - LOSSLESS_SLACK


def exits_by_pair(voters: list[ExitVoters]) -> dict[tuple[int, int], list[int]]:
    """(member, depth) -> the exits at which it votes, in order."""
    exits: dict[tuple[int, int], list[int]] = {}
    for number, here in enumerate(voters):
        for pair in here.pairs:
            exits.setdefault(pair, []).append(number)
    return exits
