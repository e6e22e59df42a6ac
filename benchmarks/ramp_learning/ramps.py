"""Ramps offline: how often every exit agrees with the full vote, and how many rows may leave, by some heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exeunt.bag_parts import ModelPart, Tensors, parts_of, run_parts
from exeunt.contract import FEATURES, PROBABILITIES
from exeunt.deciding.heads import Head, Pair
from exeunt.engine.sessions import CPU, Session
from exeunt.learning.judge import may_leave
from exeunt.learning.rows import ServedRows, half, logs_of
from exeunt.learning.vote_structure import VoteStructure
from exeunt.manifest import Manifest

BATCH_ROWS = 16


@dataclass(frozen=True, slots=True)
class ExitShares:
    """What the votes at the exits before the last are worth.

    Attributes:
        agreement: share of rows with the full vote's label, by exit.
        may_leave: share of rows that may leave at the promised loss with the best threshold, by exit.
    """

    agreement: list[float]
    may_leave: list[float]


def served_rows(manifest: Manifest, repository: Path, ramps: list[Pair], inputs: np.ndarray) -> ServedRows:
    """Features and final votes of rows, as a server would keep them."""
    segments = [part for part in parts_of(manifest) if not part.is_heads]
    sessions = {part.model: Session(part.file(repository, manifest.bag), 1, [CPU]) for part in segments}
    features: dict[Pair, list[np.ndarray]] = {pair: [] for pair in ramps}
    final: list[list[np.ndarray]] = [[] for _ in manifest.members]

    def run(part: ModelPart, tensors: Tensors) -> Tensors:
        if part.is_heads:
            return {}
        names = [output.name for output in part.outputs]
        outputs = dict(zip(names, sessions[part.model].run(names, tensors), strict=True))
        if (part.number, part.depth) in features:
            features[part.number, part.depth].append(outputs[FEATURES])
        if PROBABILITIES in outputs:
            final[part.number].append(outputs[PROBABILITIES])
        return outputs

    for start in range(0, len(inputs), BATCH_ROWS):
        run_parts(manifest, {manifest.inputs[0].name: inputs[start : start + BATCH_ROWS]}, run)
    votes = np.stack([np.concatenate(parts) for parts in final], axis=1)
    full = np.einsum("rmc,m->rc", votes, manifest.weights)
    count = len(inputs)
    return ServedRows(
        features={pair: half(np.concatenate(parts)) for pair, parts in features.items()},
        logs=logs_of(votes),
        labels=full.argmax(axis=1).astype(np.int32),
        q=np.ones(count, dtype=np.float32),
        numbers=np.arange(count, dtype=np.int64),
        arrived_us=np.zeros(count, dtype=np.int64),
    )


def shares(manifest: Manifest, rows: ServedRows, heads: Mapping[Pair, Head], eps: float) -> ExitShares:
    """What the exits are worth with these heads, on rows that no head was fitted to."""
    labels, confidence = VoteStructure.of(manifest).exit_votes(rows, heads)
    ones = np.ones((1, len(rows)))
    right = labels == labels[:, -1:]
    leave = [
        float(may_leave(confidence[:, exit_], ~right[:, exit_], ones, eps)[0])
        for exit_ in range(len(manifest.exits) - 1)
    ]
    return ExitShares([float(share) for share in right.mean(axis=0)[:-1]], leave)
