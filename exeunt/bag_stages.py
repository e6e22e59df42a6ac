"""Stages of ensemble mode: which members one call of NAME_bag runs, and what its taps bring.

A bag whose exits come after whole members need not run all of them for everybody. A stage ends at an early exit at
which every member has finished or has not begun: the next call goes on from there with the rows that are left, and
nothing runs twice. Triton itself prunes the ensemble to the taps that a call asks for.

Triton fails a call where all users of one of the ensemble's inputs are pruned. So a stage ends only where the members
before it and those after it take all inputs of the bag.

Where the exit controller holds the ramps' heads, taps bring features in place of a ramp's votes. The tap at the end of
a stage then brings the features at all of the stage's ramps: whoever learns from a finished row has them all, whatever
exits its ticket asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exeunt.contract import TAP_FULL, features_name, tap_name, votes_name
from exeunt.manifest import Manifest, Member, Tensor

Pair = tuple[int, int]  # (member, depth)


@dataclass(frozen=True, slots=True)
class Tap:
    """An output of NAME_bag that sends votes, or features, to the exit controller when it is asked for.

    Attributes:
        name: of the output.
        pairs: whose votes or features it sends.
    """

    name: str
    pairs: frozenset[Pair]


class BagStages:
    """The stages of a bag and its taps.

    Args:
        manifest: of the bag.

    Attributes:
        ends: numbers of the exits at which stages end, ascending; the last exit is the last.
        taps: by exit; each sends what its exit votes by, but for members that an earlier stage has finished.
        full: sends all members' final votes; with one stage it is the last exit's tap.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.ends = stage_ends(manifest.inputs, manifest.members, [exit_.depths for exit_ in manifest.exits])
        self._members_us = [
            [segment.cost_us[min(segment.cost_us)] if segment.cost_us else 0.0 for segment in member.segments]
            for member in manifest.members
        ]
        self.taps: list[Tap] = []
        learns = ramp_pairs(manifest) if manifest.controller_heads else set()
        finished: set[Pair] = set()
        for number, exit_ in enumerate(manifest.exits):
            pairs = {(member, depth) for member, depth in enumerate(exit_.depths) if depth}
            brings = pairs - finished
            if number in self.ends:
                members = {member for member, _ in brings}
                brings |= {pair for pair in learns if pair[0] in members}
                finished = pairs
            self.taps.append(Tap(tap_name(number), frozenset(brings)))
        self.full = Tap(TAP_FULL, frozenset(finished | learns)) if len(self.ends) > 1 else self.taps[-1]

    def calls(self, requested_exits: np.ndarray, staged: bool) -> list[list[Tap]]:
        """The calls that a ticket needs, each with its taps.

        Args:
            requested_exits: bool [exits], exits whose votes are asked for; the last always.
            staged: one call per stage, as far as somebody may leave at its end; else one call for everything.
        """
        if not requested_exits[:-1].any():
            return [[self.full]]
        calls: list[list[Tap]] = [[]]
        for number, tap in enumerate(self.taps):
            ends = number in self.ends
            if requested_exits[number] or ends:  # an end's tap brings votes that later exits need
                calls[-1].append(tap)
            if staged and ends and requested_exits[number] and tap is not self.taps[-1]:
                calls.append([])
        return calls

    def one_by_one(self, requested_exits: np.ndarray) -> list[list[Tap]]:
        """Calls of one tap each, so that no tap is under way when a member fails; segments run again for each.

        Args:
            requested_exits: bool [exits], exits whose votes are asked for; the last always.
        """
        return [[tap] for number, tap in enumerate(self.taps) if requested_exits[number] or number in self.ends]

    def work_us(self, taps: Sequence[Tap]) -> float:
        """Time of the segments that a call for `taps` runs for one row, summed over members, as profiled."""
        deepest: dict[int, int] = {}
        for member, depth in frozenset[Pair]().union(*(tap.pairs for tap in taps)):
            deepest[member] = max(depth, deepest.get(member, 0))
        return sum(sum(self._members_us[member][:depth]) for member, depth in deepest.items())

    @property
    def full_work_us(self) -> float:
        """Time of all segments for one row, as profiled."""
        return sum(map(sum, self._members_us))


def ramp_pairs(manifest: Manifest) -> set[Pair]:
    """(member, depth) of every member that votes by a ramp at some exit."""
    return {pair for number in range(len(manifest.exits)) for pair in manifest.ramps(number)}


def tap_tensors(manifest: Manifest) -> dict[Pair, Tensor]:
    """(member, depth) -> what taps bring of it, as the exit controller takes it; members in order, depths ascending."""
    voting = {(member, depth) for exit_ in manifest.exits for member, depth in enumerate(exit_.depths) if depth}
    features = ramp_pairs(manifest) if manifest.controller_heads else set()
    tensors = {}
    for member, depth in sorted(voting):
        name = manifest.members[member].name
        tensors[member, depth] = Tensor(votes_name(name, depth), "float32", (manifest.classes,))
        pooled = manifest.members[member].segments[depth - 1].features
        if (member, depth) in features and pooled is not None:
            tensors[member, depth] = Tensor(features_name(name, depth), pooled.dtype, pooled.dims)
    return tensors


def stage_ends(
    inputs: Sequence[Tensor], members: Sequence[Member], exits: Sequence[tuple[int, ...]]
) -> tuple[int, ...]:
    """Numbers of the exits at which stages end, ascending; the last exit is the last.

    Args:
        inputs: of the bag.
        members: of the bag.
        exits: depths by member, none ever shallower than in the exit before.
    """

    def take_all(chosen: set[int]) -> bool:
        names = {tensor.name for member in chosen for segment in members[member].segments for tensor in segment.inputs}
        return bool(chosen) and {tensor.name for tensor in inputs} <= names

    ends: list[int] = []
    begun: set[int] = set()  # members of the stages before
    for number, depths in enumerate(exits[:-1]):
        finished = {member for member, depth in enumerate(depths) if depth}
        whole = all(depths[member] == members[member].depth for member in finished)
        if whole and take_all(finished - begun) and take_all(set(range(len(members))) - finished):
            ends.append(number)
            begun = finished
    return (*ends, len(exits) - 1)


def elapsed_us(
    inputs: Sequence[Tensor], members: Sequence[Member], exits: Sequence[tuple[int, ...]], size: int
) -> list[float]:
    """When each exit is reached by one call with `size` rows alone: stage after stage, a stage's members side by side.

    Args:
        inputs: see `stage_ends`; so for `members` and `exits`.
        members: with measured times.
        exits: see `inputs`.
        size: a profiled batch size.

    Returns:
        microseconds per exit.
    """
    reached_us = [member.reached_us(size) for member in members]
    ends = stage_ends(inputs, members, exits)
    elapsed: list[float] = []
    finished = (0,) * len(members)
    begun_us = 0.0  # of the present stage
    for number, depths in enumerate(exits):
        running = [
            times[depth - 1] for times, depth, done in zip(reached_us, depths, finished, strict=True) if depth > done
        ]
        elapsed.append(begun_us + max(running, default=0.0))
        if number in ends:
            finished, begun_us = depths, elapsed[-1]
    return elapsed
