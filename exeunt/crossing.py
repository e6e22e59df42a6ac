"""Ensemble mode: stages that end inside members, and the tensors that cross from one call to the next.

A Triton ensemble cannot take as input what a step of its own makes. So where a stage ends inside a member, the calls
that go on from there are of an ensemble of their own over the same segment models: it takes the cut tensors that the
call before has brought back, and reaches to the next place where every member has finished or has not begun.

Triton fails a call where all users of one of the ensemble's inputs are pruned. So a stage may end inside a member only
where the next stage reads all that crosses there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exeunt.manifest import Member, Tensor

Depths = tuple[int, ...]  # by member


@dataclass(frozen=True, slots=True)
class Crossing:
    """A cut tensor that one call brings back and the next takes.

    Attributes:
        member: that made it, and that reads it.
        tensor: as its segments have it.
        name: in ensembles.
    """

    member: int
    tensor: Tensor
    name: str


def inner_name(member: str, tensor: str) -> str:
    """Name in ensembles of a tensor that only one member has."""
    return f"{member}.{tensor}"


def crossings(members: Sequence[Member], depths: Depths) -> tuple[Crossing, ...]:
    """What segments behind some depths read of those before, of members that are midway there."""
    by_tensor = {}
    for number, (member, depth) in enumerate(zip(members, depths, strict=True)):
        outputs = {tensor.name: tensor for segment in member.segments[:depth] for tensor in segment.outputs}
        for segment in member.segments[depth:]:
            for name in (tensor.name for tensor in segment.inputs if tensor.name in outputs):
                by_tensor[number, name] = Crossing(number, outputs[name], inner_name(member.name, name))
    return tuple(by_tensor.values())


def read_between(members: Sequence[Member], begin: Depths, end: Depths) -> set[tuple[int, str]]:
    """(member, tensor) that the segments from some depths to others read."""
    return {
        (number, tensor.name)
        for number, member in enumerate(members)
        for segment in member.segments[begin[number] : end[number]]
        for tensor in segment.inputs
    }


def public_read(inputs: Sequence[Tensor], members: Sequence[Member], begin: Depths, end: Depths) -> tuple[Tensor, ...]:
    """The bag's inputs that the segments from some depths to others read."""
    names = {name for _, name in read_between(members, begin, end)}
    return tuple(tensor for tensor in inputs if tensor.name in names)


def whole_ends(inputs: Sequence[Tensor], members: Sequence[Member], exits: Sequence[Depths]) -> tuple[int, ...]:
    """Numbers of the exits after whole members at which stages end, ascending; the last exit is the last.

    Args:
        inputs: of the bag.
        members: of the bag.
        exits: depths by member, none ever shallower than in the exit before.
    """

    def take_all(members_there: set[int]) -> bool:
        names = {
            tensor.name for member in members_there for segment in members[member].segments for tensor in segment.inputs
        }
        return bool(members_there) and {tensor.name for tensor in inputs} <= names

    ends: list[int] = []
    begun: set[int] = set()  # members of the stages before
    for number, depths in enumerate(exits[:-1]):
        finished = {member for member, depth in enumerate(depths) if depth}
        whole = all(depths[member] == members[member].depth for member in finished)
        if whole and take_all(finished - begun) and take_all(set(range(len(members))) - finished):
            ends.append(number)
            begun = finished
    return (*ends, len(exits) - 1)


def can_cross(
    inputs: Sequence[Tensor], members: Sequence[Member], exits: Sequence[Depths], inner: Iterable[int]
) -> bool:
    """Whether stages may end inside members at the exits `inner` (numbers), all of them together.

    Args:
        inputs: of the bag.
        members: of the bag.
        exits: depths by member, none ever shallower than in the exit before.
        inner: early exits that are no ends of stages of whole members.
    """
    inner = set(inner)
    whole = whole_ends(inputs, members, exits)
    if inner & set(whole) or not inner <= set(range(len(exits) - 1)):
        return False
    nothing = (0,) * len(members)
    for start, end in pairwise([-1, *sorted({*whole, *inner})]):
        begin, reads = nothing if start < 0 else exits[start], set[str]()
        between = read_between(members, begin, exits[end])
        if start in inner:
            last = next(number for number in whole if number > start)
            midway = [member for member, depth in enumerate(begin) if 0 < depth < members[member].depth]
            later = exits[start + 1 : last + 1]
            if any(depths[member] == begin[member] for depths in later for member in midway):
                return False  # a ramp before the cut would vote behind it
            if not {(one.member, one.tensor.name) for one in crossings(members, begin)} <= between:
                return False
            reads = {tensor.name for tensor in public_read(inputs, members, begin, exits[last])}
        else:
            reads = {tensor.name for tensor in inputs}
        if not reads <= {name for _, name in between}:
            return False
    return True
