"""Which members the vote hardly needs: what changes without each of them, and the best order in which to add them.

Everything is about agreement with the full vote, on rows that nothing was trained on: nobody knows here which labels
are right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from exeunt.deciding import votes
from exeunt.manifest import Manifest
from exeunt_export import voting
from exeunt_export.ramps.train import MemberDepth
from exeunt_export.schedule.exit_weights import fitted_weights

MOST_ROWS = 2000


@dataclass(frozen=True, slots=True)
class WithoutMember:
    """The bag without one member.

    Attributes:
        member: its name.
        same_vote: share of the rows on which the others have the full vote's label.
        same_vote_reweighted: the same with weights fitted to the full vote on the calibration rows.
        work_saved: the member's share of the bag's work.
    """

    member: str
    same_vote: float
    same_vote_reweighted: float
    work_saved: float


@dataclass(frozen=True, slots=True)
class MemberChoice:
    """What the vote needs.

    Attributes:
        rows: that were judged.
        without: by member, in the bag's order; empty for a bag of one.
        order: members, those first that together say most often what all say.
        agreement: share of the rows on which the first 1, 2, ... of `order` have the full vote's label.
    """

    rows: int
    without: tuple[WithoutMember, ...]
    order: tuple[str, ...]
    agreement: tuple[float, ...]

    def lines(self) -> list[str]:
        """For the terminal."""
        lines = [
            f"without {one.member}: {one.work_saved:.0%} less work, the same vote on {one.same_vote:.1%} of "
            f"{self.rows} rows, {one.same_vote_reweighted:.1%} with other weights"
            for one in self.without
        ]
        if self.without:
            steps = ", ".join(f"{name} {share:.1%}" for name, share in zip(self.order, self.agreement, strict=True))
            lines.append(f"few that say what all say: {steps}")
        return lines


class _Ballots:
    """Members' final votes, and who agrees with the full vote."""

    def __init__(
        self,
        manifest: Manifest,
        sample_votes: Mapping[MemberDepth, np.ndarray],
        calibration: np.ndarray,
        report: np.ndarray,
    ) -> None:
        finished = [sample_votes[member.name, member.depth] for member in manifest.members]
        row_bytes = sum(array[0].nbytes for array in finished)
        parts = [voting.spread_sample(rows, MOST_ROWS, row_bytes) for rows in (calibration, report)]
        self.rows = len(parts[1])
        self._kind = manifest.vote
        self._weights = [member.weight for member in manifest.members]
        self._fit, self._judged = ([array[rows] for array in finished] for rows in parts)
        everybody = range(len(finished))
        self._fit_full = self._labels(self._fit, everybody, self._weights)
        self._full = self._labels(self._judged, everybody, self._weights)

    def _labels(self, ballots: Sequence[np.ndarray], members: Sequence[int], weights: Sequence[float]) -> np.ndarray:
        return votes.labels(votes.vote([ballots[m] for m in members], list(weights), self._kind))

    def same_vote(self, members: Sequence[int]) -> float:
        """Share of the rows on which these members, with the bag's weights, have the full vote's label."""
        weights = [self._weights[m] for m in members]
        return float((self._labels(self._judged, members, weights) == self._full).mean())

    def same_vote_reweighted(self, members: Sequence[int]) -> float:
        """As `same_vote`, with weights fitted on the calibration rows."""
        ballots = [self._fit[m] for m in members]
        if self._kind == "hard":
            ballots = [votes.one_hot(ballot) for ballot in ballots]
        weights = fitted_weights(ballots, [self._weights[m] for m in members], self._fit_full)
        return float((self._labels(self._judged, members, weights) == self._full).mean())


def member_choice(
    manifest: Manifest, sample_votes: Mapping[MemberDepth, np.ndarray], calibration: np.ndarray, report: np.ndarray
) -> MemberChoice:
    """Judge every member, and every order by adding the member that helps most.

    Args:
        manifest: of the bag.
        sample_votes: (member, depth) -> float32 [all rows, classes].
        calibration: numbers of the rows that weights are fitted on.
        report: numbers of the rows that are judged.
    """
    names = [member.name for member in manifest.members]
    ballots = _Ballots(manifest, sample_votes, calibration, report)
    work_us = [member.total_us for member in manifest.members]
    without = []
    for left_out, name in enumerate(names) if len(names) > 1 else ():
        others = [m for m in range(len(names)) if m != left_out]
        saved = work_us[left_out] / sum(work_us)
        without.append(WithoutMember(name, ballots.same_vote(others), ballots.same_vote_reweighted(others), saved))
    order: list[int] = []
    agreement = []
    while len(order) < len(names):
        remaining = [m for m in range(len(names)) if m not in order]
        same = {m: ballots.same_vote([*order, m]) for m in remaining}
        order.append(max(remaining, key=lambda m: (same[m], -work_us[m])))
        agreement.append(same[order[-1]])
    return MemberChoice(ballots.rows, tuple(without), tuple(names[m] for m in order), tuple(agreement))
