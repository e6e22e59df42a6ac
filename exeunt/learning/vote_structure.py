"""How members' votes combine into the votes of exits: the part of a manifest that is needed to judge heads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from exeunt.deciding import votes
from exeunt.deciding.heads import Head, Pair
from exeunt.deciding.votes import SCORES
from exeunt.learning.rows import ServedRows
from exeunt.manifest import Manifest, ramps_at
from exeunt.reading import from_plain


@dataclass(frozen=True, slots=True)
class VoteStructure:
    """Members and exits of a bag.

    Attributes:
        member_depths: by member, its number of segments.
        weights: by member, of the full vote.
        exit_depths: by exit, depths by member.
        exit_weights: by exit, weights of the members that vote there.
        vote: "soft" or "hard".
        confidence: name of the score.
    """

    member_depths: tuple[int, ...]
    weights: tuple[float, ...]
    exit_depths: tuple[tuple[int, ...], ...]
    exit_weights: tuple[tuple[float, ...], ...]
    vote: str
    confidence: str

    @classmethod
    def of(cls, manifest: Manifest) -> VoteStructure:
        """That of a bag."""
        return cls(
            member_depths=tuple(member.depth for member in manifest.members),
            weights=tuple(float(weight) for weight in manifest.weights),
            exit_depths=tuple(exit_.depths for exit_ in manifest.exits),
            exit_weights=tuple(tuple(manifest.exit_weights(number)) for number in range(len(manifest.exits))),
            vote=manifest.vote,
            confidence=manifest.settings.confidence,
        )

    def to_json(self) -> str:
        """As text that `from_json` reads back."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> VoteStructure:
        """What `to_json` wrote."""
        structure: VoteStructure = from_plain(cls, json.loads(text))
        return structure

    def midway(self, exit_: int) -> list[Pair]:
        """(member, depth) of the members that vote at an exit by a ramp."""
        return ramps_at(self.exit_depths[exit_], self.member_depths)

    def full_vote(self, rows: ServedRows) -> np.ndarray:
        """The full vote of rows, float32 [rows, classes]."""
        final = _probabilities(rows)
        return votes.vote([final[:, member] for member in range(final.shape[1])], self.weights, self.vote)

    def exit_votes(self, rows: ServedRows, heads: Mapping[Pair, Head]) -> tuple[np.ndarray, np.ndarray]:
        """The votes that every exit would give on rows with some heads.

        Args:
            rows: with features of every ramp in `heads`.
            heads: of every ramp that can learn; an exit with another ramp is NEVER_SEEN.

        Returns:
            labels int32 [rows, exits] and confidence float32 [rows, exits]; -1 and NaN where not known. The labels of
            the last exit are those that the rows bring.
        """
        final = _probabilities(rows)
        early = {pair: heads[pair].probabilities(rows.features[pair].astype(np.float32)) for pair in heads}
        exits = len(self.exit_depths)
        labels = np.full((len(rows), exits), -1, dtype=np.int32)
        confidence = np.full((len(rows), exits), np.nan, dtype=np.float32)
        for exit_, depths in enumerate(self.exit_depths):
            pairs = [(m, d) for m, d in enumerate(depths) if d]
            if not all(pair in heads for pair in self.midway(exit_)):
                continue
            arrays = [early[m, d] if (m, d) in early else final[:, m] for m, d in pairs]
            vote = votes.vote(arrays, self.exit_weights[exit_], self.vote)
            labels[:, exit_], confidence[:, exit_] = votes.labels(vote), SCORES[self.confidence](vote)
        labels[:, -1] = rows.labels
        return labels, confidence


def _probabilities(rows: ServedRows) -> np.ndarray:
    """The members' final probabilities, float32 [rows, members, classes]."""
    return np.exp(rows.logs.astype(np.float32))
