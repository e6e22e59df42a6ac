"""What the vote at an exit is made of: looked up once per bag, not once per batch."""

from __future__ import annotations

from exeunt.manifest import Manifest


class ExitVote:
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
        done = [member for member in voting if depths[member] == manifest.members[member].depth]
        self.pairs = [(member, depths[member]) for member in voting]
        self.weights = manifest.exit_weights(exit_)
        self.finished = [(member, depths[member]) for member in done]
        self.finished_weights = [float(weights[member]) for member in done]
        self.missing = max(0.0, 1.0 - sum(self.finished_weights))


def exits_by_pair(votes: list[ExitVote]) -> dict[tuple[int, int], list[int]]:
    """(member, depth) -> the exits at which it votes, in order."""
    exits: dict[tuple[int, int], list[int]] = {}
    for number, vote in enumerate(votes):
        for pair in vote.pairs:
            exits.setdefault(pair, []).append(number)
    return exits
