"""Opening a bag: its members read, checked against each other, and timed node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from exeunt.errors import ConfigError, unknown
from exeunt.export import nodecosts, own_exits
from exeunt.export import samples as sampling
from exeunt.export.bagfile import BagFile, BagMember
from exeunt.export.graph import MemberGraph, load_member
from exeunt.export.naming import as_columns
from exeunt.export.plan import Measured
from exeunt.export.shared import Shared, preprocess
from exeunt.export.stages import Stages
from exeunt.manifest import Tensor


@dataclass(frozen=True, slots=True)
class Opened:
    """A bag with everything read and measured.

    Attributes:
        bag: its file.
        members: in the bag's order.
        inputs: the public ones.
        samples: public input -> [rows, ...].
        parts: of the samples.
        labels: names of the classes.
        shared: preprocessing before all members; None without.
    """

    bag: BagFile
    members: tuple[Measured, ...]
    inputs: tuple[Tensor, ...]
    samples: dict[str, np.ndarray]
    parts: sampling.Parts
    labels: tuple[str, ...]
    shared: Shared | None = None

    def rows_of(self, member: MemberGraph) -> dict[str, np.ndarray]:
        """The samples that a member takes; public input -> [rows, ...]."""
        return {each.name: self.samples[each.name] for each in member.inputs}


def open_bag(bag: BagFile, given: Mapping[str, np.ndarray] | np.ndarray | None, stages: Stages) -> Opened:
    """Read, check and time the members.

    Args:
        bag: checked.
        given: samples in place of the bag file's.
        stages: told of progress.

    Raises:
        ConfigError: a member or the samples cannot be used, or members disagree.
    """
    where = f"{bag.where}: samples"
    told = "samples"
    if given is None:
        if bag.samples is None:
            raise ConfigError(f"{where} is missing; it names a file of unlabelled inputs")
        given = sampling.load(bag.samples, where)
        told = f"samples = {bag.samples}"
    samples = {"": given} if isinstance(given, np.ndarray) else dict(given)
    shared = None
    if bag.preprocess is not None:
        sampling.check_finite(samples, f"{bag.where}: {told}")
        shared = preprocess(bag.name, bag.preprocess, samples, f"{bag.where}: preprocess", told)
        samples = shared.samples
    if "" in samples and len(bag.inputs) == 1:
        samples = {bag.inputs[0]: samples[""]}
    graphs: list[MemberGraph] = []
    stages.at("read members", 0, len(bag.members))
    for member in bag.members:
        try:
            graph = _load(member, samples, told)
        except ConfigError as error:  # it starts with the file
            raise ConfigError(f"{bag.where}: member {member.name}: file = {error}") from None
        if "" in samples:  # one array without a name is the one input of the first member
            samples = {graph.inputs[0].name: samples[""]}
        graphs.append(graph)
        stages.at("read members", len(graphs), len(bag.members))
    inputs = _agree(bag, graphs)
    labels = _labels(bag, graphs[0])
    samples = as_columns({each.name: samples[each.name] for each in inputs}, {each.name: each for each in inputs})
    rows = sampling.count_rows(samples, where)
    sampling.check_finite(samples, f"{bag.where}: {told}")
    parts = sampling.divide(rows, bag.seed)
    return Opened(bag, _measure(bag, graphs, samples, stages), inputs, samples, parts, labels, shared)


def _measure(
    bag: BagFile, graphs: Sequence[MemberGraph], samples: Mapping[str, np.ndarray], stages: Stages
) -> tuple[Measured, ...]:
    measured: list[Measured] = []
    stages.at("time nodes", 0, len(graphs))
    for graph in graphs:
        costs = nodecosts.measure(graph.model, {each.name: samples[each.name] for each in graph.inputs}, graph.where)
        try:
            measured.append(own_exits.measured(graph, costs))
        except ConfigError as error:  # it starts with the file
            raise ConfigError(f"{bag.where}: member {graph.name}: file = {error}") from None
        stages.at("time nodes", len(measured), len(graphs))
    return tuple(measured)


def _load(member: BagMember, samples: Mapping[str, np.ndarray], told: str) -> MemberGraph:
    return load_member(
        member.name,
        member.file,
        samples,
        member.output,
        told,
        member.scores,
        inputs=member.inputs,
        preprocess=member.preprocess,
        exits=member.exits,
    )


def _agree(bag: BagFile, graphs: Sequence[MemberGraph]) -> tuple[Tensor, ...]:
    """The public inputs; ConfigError where members disagree on classes or on an input."""
    first = graphs[0]
    inputs: dict[str, tuple[Tensor, MemberGraph]] = {}
    for graph in graphs:
        if graph.classes != first.classes:
            raise ConfigError(
                f"{graph.where}: member {graph.name} has {graph.classes} classes, {first.where} has {first.classes}; "
                "members of a bag vote on the same classes in the same order"
            )
        for tensor in graph.inputs:
            known, other = inputs.setdefault(tensor.name, (tensor, graph))
            both = _narrower(known, tensor)
            if both is None:
                raise ConfigError(
                    f"{graph.where}: input {tensor.name!r} is {tensor.dtype} {list(tensor.dims)}, in {other.where} it "
                    f"is {known.dtype} {list(known.dims)}; members of a bag take the same inputs, or inputs of other "
                    f'names: inputs = {{ {tensor.name} = "..." }} in its [[member]]'
                )
            inputs[tensor.name] = both, other
    return tuple(inputs[name][0] for name in _order(bag, inputs))


def _narrower(one: Tensor, other: Tensor) -> Tensor | None:
    """The tensor that fits both, free only where both are; None where they differ."""
    if one.dtype != other.dtype or len(one.dims) != len(other.dims):
        return None
    pairs = list(zip(one.dims, other.dims, strict=True))
    return (
        Tensor(one.name, one.dtype, tuple(map(max, pairs))) if all(a == b or -1 in (a, b) for a, b in pairs) else None
    )


def _order(bag: BagFile, taken: Mapping[str, tuple[Tensor, MemberGraph]]) -> Sequence[str]:
    """Names of the public inputs, as the bag file orders them."""
    if not bag.inputs:
        return list(taken)
    for name, (_, graph) in taken.items():
        if name not in bag.inputs:
            raise unknown("input", name, bag.inputs, f"{bag.where}: member {graph.name}: inputs")
    for name in bag.inputs:
        if name not in taken:
            raise ConfigError(f"{bag.where}: inputs: no member takes {name!r}; they take {', '.join(taken)}")
    return bag.inputs


def _labels(bag: BagFile, first: MemberGraph) -> tuple[str, ...]:
    labels = bag.labels if bag.labels is not None else tuple(str(number) for number in range(first.classes))
    if len(labels) != first.classes:
        raise ConfigError(f"{bag.where}: labels: {len(labels)} of them, but {first.where} has {first.classes} classes")
    if bag.serving.top > len(labels):
        raise ConfigError(
            f"{bag.where}: [serving]: top = {bag.serving.top}; allowed: 0 to {len(labels)}, the number of classes"
        )
    return labels
