"""Stages of ensemble mode: which members one call of NAME_bag runs, and what its taps bring.

A bag whose exits come after whole members need not run all of them for everybody. A stage ends at an early exit at
which every member has finished or has not begun: the next call goes on from there with the rows that are left, and
nothing runs twice. Triton itself prunes the ensemble to the taps that a call asks for.

Triton fails a call where all users of one of the ensemble's inputs are pruned. So a stage ends only where the members
before it and those after it take all inputs of the bag.

Where the export found that it pays, stages end inside members too: the manifest names these exits (`inner_stages`).
Then a call is of an ensemble of its stage alone: it takes the cut tensors that the call before has brought back, and
brings back those at its own end; see crossing.py.

Where the exit controller holds the ramps' heads, taps bring features in place of a ramp's votes. The tap at the end of
a stage then brings the features at all of the stage's ramps: whoever learns from a finished row has them all, whatever
exits its ticket asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from exeunt.contract import TAP_FULL, bag_model, features_name, stage_model, tap_name, votes_name
from exeunt.crossing import Crossing, Depths, crossings, public_read, whole_ends
from exeunt.manifest import Manifest, Member, Tensor

Pair = tuple[int, int]  # (member, depth)


@dataclass(frozen=True, slots=True)
class Tap:
    """An output of NAME_bag that sends votes, or features, to the exit controller when it is asked for."""

    name: str
    pairs: frozenset[Pair]


@dataclass(slots=True)
class PlannedCall:
    """A call that a ticket needs.

    Attributes:
        taps: that it asks for.
        start: the exit inside members at which it begins, from cut tensors; None: it begins with the bag's inputs.
        end: the exit inside members whose cut tensors it brings back; None: none.
    """

    taps: list[Tap] = field(default_factory=list)
    start: int | None = None
    end: int | None = None

    @property
    def pairs(self) -> frozenset[Pair]:
        """What its taps send."""
        return frozenset[Pair]().union(*(tap.pairs for tap in self.taps))

    @property
    def tap_names(self) -> list[str]:
        """Names of its taps."""
        return [tap.name for tap in self.taps]


class BagStages:
    """The stages of a bag and its taps.

    Attributes:
        ends: numbers of the exits at which stages end, ascending; the last exit is the last.
        inner: those of them that lie inside members.
        taps: by exit; each sends what its exit votes by, but for what the tap at the end of an earlier stage sends.
        full: sends all members' final votes; with one stage it is the last exit's tap.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._exits = [exit_.depths for exit_ in manifest.exits]
        self._bag, self._members = manifest.bag, manifest.members
        self._whole = whole_ends(manifest.inputs, manifest.members, self._exits)
        self.inner = manifest.inner_stages
        self.ends = tuple(sorted({*self._whole, *self.inner}))
        self._crossings = {number: crossings(manifest.members, self._exits[number]) for number in self.inner}
        self._brought_back = {(start, end): self._made(start, end) for start, end in self.spans()}
        self._public_inputs: dict[int | None, tuple[Tensor, ...]] = {None: manifest.inputs}
        for start in self.inner:
            reads_to = self._exits[self.last(start, None)]
            self._public_inputs[start] = public_read(manifest.inputs, manifest.members, self._exits[start], reads_to)
        self._members_us = [
            [segment.cost_us[min(segment.cost_us)] if segment.cost_us else 0.0 for segment in member.segments]
            for member in manifest.members
        ]
        self._votes = [frozenset((m, depth) for m, depth in enumerate(depths) if depth) for depths in self._exits]
        self._learns = ramp_pairs(manifest) if manifest.controller_heads else set()
        self.taps: list[Tap] = []
        come, reached = set[Pair](), (0,) * len(manifest.members)
        for number, depths in enumerate(self._exits):
            brings = self._votes[number] - come
            if number in self.ends:
                brings |= {(m, depth) for m, depth in self._learns if reached[m] < depth <= depths[m]}
                come, reached = come | brings, depths
            self.taps.append(Tap(tap_name(number), frozenset(brings)))
        full = frozenset(self._votes[-1] | self._learns)
        self.full = Tap(TAP_FULL, full) if len(self.ends) > 1 else self.taps[-1]

    def calls(self, requested_exits: np.ndarray, staged: bool) -> list[PlannedCall]:
        """The calls that a ticket needs.

        Args:
            requested_exits: bool [exits], exits whose votes are asked for; the last always.
            staged: one call per stage, as far as somebody may leave at its end; else one call for everything.
        """
        if not requested_exits[:-1].any():
            return [self.full_call()]
        calls = [PlannedCall()]
        for number, tap in enumerate(self.taps):
            if self._asks(number, requested_exits):
                calls[-1].taps.append(tap)
            if number not in self.ends or tap is self.taps[-1]:
                continue
            splits = staged and bool(requested_exits[number])
            if number in self.inner and splits:
                calls[-1].end = number
                calls.append(PlannedCall(start=number))
            elif number not in self.inner and (splits or calls[-1].start is not None):
                calls.append(PlannedCall())  # an ensemble that begins inside members reaches no farther
        return calls

    def one_by_one(self, requested_exits: np.ndarray) -> list[PlannedCall]:
        """Calls of one tap each, so that no tap is under way when a member fails; segments run again for each.

        Args:
            requested_exits: bool [exits], exits whose votes are asked for; the last always.
        """
        return [PlannedCall([tap]) for number, tap in enumerate(self.taps) if self._asks(number, requested_exits)]

    def full_call(self) -> PlannedCall:
        """The call that brings the full vote alone."""
        return PlannedCall([self.full])

    def model(self, start: int | None, end: int | None) -> str:
        """The ensemble of calls from `start` to `end`."""
        return bag_model(self._bag) if start is None and end is None else stage_model(self._bag, start, end)

    def spans(self) -> list[tuple[int | None, int | None]]:
        """(start, end) of every ensemble that calls may be of; NAME_bag, (None, None), is the first."""
        spans: list[tuple[int | None, int | None]] = [(None, None), *((None, end) for end in self.inner)]
        for start in self.inner:
            spans += [(start, end) for end in self.inner if start < end < self.last(start, None)]
            spans.append((start, None))
        return spans

    def begin(self, start: int | None) -> Depths:
        """Depths at which the ensemble of calls that begin at `start` begins."""
        return (0,) * len(self._members) if start is None else self._exits[start]

    def last(self, start: int | None, end: int | None) -> int:
        """Number of the last exit of the ensemble of calls from `start` to `end`: where all that has begun is over."""
        if end is not None:
            return end
        return self._whole[-1] if start is None else next(number for number in self._whole if number > start)

    def public_inputs(self, start: int | None) -> tuple[Tensor, ...]:
        """The bag's inputs that the ensemble of calls that begin at `start` takes."""
        return self._public_inputs[start]

    def crossings(self, number: int | None) -> tuple[Crossing, ...]:
        """What crosses from one call to the next at an exit inside members; nothing for None."""
        return () if number is None else self._crossings[number]

    def brought_back(self, start: int | None, end: int | None) -> tuple[Crossing, ...]:
        """What crosses at `end` and is made by calls that begin at `start`; the rest they have been given."""
        return self._brought_back[start, end]

    def _made(self, start: int | None, end: int | None) -> tuple[Crossing, ...]:
        """See `brought_back`."""
        begin = self.begin(start)
        before = {
            (member, tensor.name)
            for member, depth in enumerate(begin)
            for segment in self._members[member].segments[:depth]
            for tensor in segment.outputs
        }
        return tuple(one for one in self.crossings(end) if (one.member, one.tensor.name) not in before)

    def work_us(self, call: PlannedCall) -> float:
        """Time of the segments that a call runs for one row, summed over members, as profiled."""
        begin = self.begin(call.start)
        deepest: dict[int, int] = {}
        for member, depth in call.pairs:
            deepest[member] = max(depth, deepest.get(member, 0))
        return sum(sum(self._members_us[member][begin[member] : depth]) for member, depth in deepest.items())

    @property
    def full_work_us(self) -> float:
        """Time of all segments for one row, as profiled."""
        return sum(map(sum, self._members_us))

    def _asks(self, number: int, requested_exits: np.ndarray) -> bool:
        """Whether the tap of an exit is needed: for its exit, for a later one, or because whoever learns wants it."""
        if requested_exits[number] or number in self._whole:
            return True
        if number not in self.inner:
            return False
        pairs = self.taps[number].pairs
        later = (self._votes[place] for place in np.flatnonzero(requested_exits) if place > number)
        return bool(self._learns) or any(pairs & votes for votes in later)


def first_run(calls: Sequence[PlannedCall]) -> tuple[PlannedCall, int]:
    """(the first calls in one, how many they are): as many as one ensemble can run in one go."""
    count = 1
    while count < len(calls) and (calls[0].start is None or calls[count].start is not None):
        count += 1
    return PlannedCall([tap for call in calls[:count] for tap in call.taps], calls[0].start), count


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


def elapsed_us(inputs: Sequence[Tensor], members: Sequence[Member], exits: Sequence[Depths], size: int) -> list[float]:
    """When each exit is reached by one call with `size` rows alone: stage after stage, a stage's members side by side.

    Args:
        inputs: see `whole_ends`; so for `members` and `exits`.
        members: with measured times.
        exits: see `inputs`.
        size: a profiled batch size.

    Returns:
        microseconds per exit.
    """
    reached_us = [member.reached_us(size) for member in members]
    ends = whole_ends(inputs, members, exits)
    elapsed: list[float] = []
    finished = (0,) * len(members)
    begun_us = 0.0  # of the present stage
    for number, depths in enumerate(exits):
        running = [
            times[depth - 1]
            for times, depth, finished_depth in zip(reached_us, depths, finished, strict=True)
            if depth > finished_depth
        ]
        elapsed.append(begun_us + max(running, default=0.0))
        if number in ends:
            finished, begun_us = depths, elapsed[-1]
    return elapsed
