"""Opening a bag: its members read, checked against each other, and timed node by node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from exeunt.contract import RESERVED
from exeunt.errors import ConfigError, check_known
from exeunt.manifest import Tensor
from exeunt_export import nodecosts, onnxfiles
from exeunt_export.bagfile import samples as sampling
from exeunt_export.bagfile.bagfile import BagFile
from exeunt_export.export_progress import Stages
from exeunt_export.planning import own_exits
from exeunt_export.planning.plan import MeasuredMember
from exeunt_export.readers.class_names import order_for, reorder
from exeunt_export.readers.graph import Draft, MemberGraph, draft_member, finish_member
from exeunt_export.readers.naming import as_columns
from exeunt_export.readers.shared_preprocessing import SharedPreprocessing, run_shared_preprocessing


@dataclass(frozen=True, slots=True)
class OpenedBag:
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
    members: tuple[MeasuredMember, ...]
    inputs: tuple[Tensor, ...]
    samples: dict[str, np.ndarray]
    parts: sampling.SampleParts
    labels: tuple[str, ...]
    shared: SharedPreprocessing | None = None

    def rows_of(self, member: MemberGraph) -> dict[str, np.ndarray]:
        """The samples that a member takes; public input -> [rows, ...]."""
        return {input_.name: self.samples[input_.name] for input_ in member.inputs}


def open_bag(bag: BagFile, loaded: Mapping[str, np.ndarray] | np.ndarray | None, stages: Stages) -> OpenedBag:
    """Read, check and time the members; `loaded` samples are taken in place of the bag file's.

    What can be refused is refused before anything takes long: all files are looked for, then all are read and checked
    by what they declare, then each is run on some rows, and only then are nodes timed.

    Raises:
        ConfigError: a member or the samples cannot be used, or members disagree.
    """
    _check_files(bag)
    where = f"{bag.where}: samples"
    message = "samples"
    if loaded is None:
        if bag.samples is None:
            raise ConfigError(f"{where} is missing; it names a file of unlabelled inputs")
        loaded = sampling.load(bag.samples, where, bag.inputs, bag.images)
        message = f"samples = {bag.samples}"
    samples = {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    shared = None
    if bag.preprocess is not None:
        sampling.check_finite(samples, f"{bag.where}: {message}")
        shared = run_shared_preprocessing(bag.name, bag.preprocess, samples, f"{bag.where}: preprocess", message)
        samples = shared.samples
    if "" in samples and len(bag.inputs) == 1:
        samples = {bag.inputs[0]: samples[""]}
    drafts, samples = _read_members(bag, samples, message, stages)
    graphs = _run_members(bag, drafts, stages)
    inputs = _common_inputs(bag, graphs)
    labels = _bring_classes_in_order(bag, graphs)
    samples = as_columns(
        {input_.name: samples[input_.name] for input_ in inputs}, {input_.name: input_ for input_ in inputs}
    )
    rows = sampling.count_rows(samples, where)
    sampling.check_finite(samples, f"{bag.where}: {message}")
    parts = sampling.divide(rows, bag.seed)
    return OpenedBag(bag, _time_nodes(bag, graphs, samples, stages), inputs, samples, parts, labels, shared)


def _check_files(bag: BagFile) -> None:
    """Raise ConfigError, naming the member, unless every file is there."""
    for member in bag.members:
        for key, path in (("file", member.file), ("preprocess", member.preprocess)):
            if path is not None and not path.is_file():
                raise ConfigError(f"{bag.where}: member {member.name}: {key} = {path}: no such file; give an ONNX file")


def _read_members(
    bag: BagFile, samples: dict[str, np.ndarray], text: str, stages: Stages
) -> tuple[list[Draft], dict[str, np.ndarray]]:
    """All members as their files declare them, and the samples under the public names."""
    drafts: list[Draft] = []
    stages.at("read members", 0, len(bag.members))
    for member in bag.members:
        with _errors_name(bag, member.name):
            draft = draft_member(member, samples, text, None if bag.labels is None else len(bag.labels))
            _check_names(draft)
        onnxfiles.spill(draft.model)
        if "" in samples:  # one array without a name is the one input of the first member
            samples = {}
        samples |= draft.samples  # in the types that members declare
        drafts.append(draft)
        stages.at("read members", len(drafts), len(bag.members))
    declared = [draft_ for draft_ in drafts if draft_.classes is not None]
    _same_classes(declared)
    if declared:
        _labels(bag, declared[0])
    return drafts, samples


def _check_names(draft: Draft) -> None:
    for value in draft.model.graph.inputs:
        name = value.name or ""
        if RESERVED.fullmatch(name):
            raise ConfigError(
                f"{draft.where}: input {name!r} has the name of one of exeunt's own tensors; give it another public "
                f'name: inputs = {{ {name} = "{name.lower()}_in" }} in its [[member]]'
            )


def _run_members(bag: BagFile, drafts: Sequence[Draft], stages: Stages) -> list[MemberGraph]:
    """The members in the bag's form, each run on some rows."""
    graphs: list[MemberGraph] = []
    stages.at("run members", 0, len(drafts))
    for draft in drafts:
        with _errors_name(bag, draft.name):
            graphs.append(finish_member(draft))
            onnxfiles.spill(graphs[-1].model)
            own_exits.check_order(graphs[-1])
        stages.at("run members", len(graphs), len(drafts))
    return graphs


@contextmanager
def _errors_name(bag: BagFile, member: str) -> Iterator[None]:
    """Let errors, which start with the member's file, start with the bag file and the member."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{bag.where}: member {member}: file = {error}") from None


def _time_nodes(
    bag: BagFile, graphs: Sequence[MemberGraph], samples: Mapping[str, np.ndarray], stages: Stages
) -> tuple[MeasuredMember, ...]:
    measured: list[MeasuredMember] = []
    stages.at("time nodes", 0, len(graphs))
    for graph in graphs:
        rows = {input_.name: samples[input_.name] for input_ in graph.inputs}
        costs = nodecosts.measure(graph.model, rows, graph.where, bag.cuts.times)
        with _errors_name(bag, graph.name):
            measured.append(own_exits.with_exit_boundaries(graph, costs))
        stages.at("time nodes", len(measured), len(graphs))
    return tuple(measured)


def _common_inputs(bag: BagFile, graphs: Sequence[MemberGraph]) -> tuple[Tensor, ...]:
    """The public inputs; ConfigError where members disagree on classes or on an input."""
    _same_classes(graphs)
    inputs: dict[str, tuple[Tensor, MemberGraph]] = {}
    for graph in graphs:
        for tensor in graph.inputs:
            earlier, other = inputs.setdefault(tensor.name, (tensor, graph))
            both = _common_tensor(earlier, tensor)
            if both is None:
                raise ConfigError(
                    f"{graph.where}: input {tensor.name!r} is {tensor.dtype} {list(tensor.dims)}, in {other.where} it "
                    f"is {earlier.dtype} {list(earlier.dims)}; members of a bag take the same inputs, or inputs of "
                    f'other names: inputs = {{ {tensor.name} = "..." }} in its [[member]]'
                )
            inputs[tensor.name] = both, other
    return tuple(inputs[name][0] for name in _input_order(bag, inputs))


def _same_classes(members: Sequence[Draft] | Sequence[MemberGraph]) -> None:
    for member in members:
        if member.classes != members[0].classes:
            raise ConfigError(
                f"{member.where}: member {member.name} has {member.classes} classes, {members[0].where} has "
                f"{members[0].classes}; members of a bag vote on the same classes in the same order"
            )


def _common_tensor(one: Tensor, other: Tensor) -> Tensor | None:
    """The tensor that fits both, free only where both are; None where they differ."""
    if one.dtype != other.dtype or len(one.dims) != len(other.dims):
        return None
    pairs = list(zip(one.dims, other.dims, strict=True))
    return (
        Tensor(one.name, one.dtype, tuple(map(max, pairs))) if all(a == b or -1 in (a, b) for a, b in pairs) else None
    )


def _input_order(bag: BagFile, members_inputs: Mapping[str, tuple[Tensor, MemberGraph]]) -> Sequence[str]:
    """Names of the public inputs, as the bag file orders them."""
    if not bag.inputs:
        return list(members_inputs)
    for name, (_, graph) in members_inputs.items():
        check_known("input", name, bag.inputs, f"{bag.where}: member {graph.name}: inputs")
    for name in bag.inputs:
        if name not in members_inputs:
            raise ConfigError(f"{bag.where}: inputs: no member takes {name!r}; they take {', '.join(members_inputs)}")
    return bag.inputs


def _bring_classes_in_order(bag: BagFile, graphs: Sequence[MemberGraph]) -> tuple[str, ...]:
    """The bag's labels; members whose files name the same classes in another order are brought into the bag's."""
    named = [graph for graph in graphs if graph.class_names is not None]
    labels = _labels(bag, graphs[0])
    if bag.labels is None and named:
        labels = named[0].class_names or labels
    for graph in named:
        where = f"{bag.where}: member {graph.name}"
        order = order_for(graph.class_names or (), labels, where)
        if order is None:
            continue
        if graph.exits:
            raise ConfigError(
                f"{where}: its classes stand in another order than the bag's labels, and it has exits of its own; "
                "give labels in its order, or export it in the bag's"
            )
        reorder(graph.model, order)
    return labels


def _labels(bag: BagFile, first: Draft | MemberGraph) -> tuple[str, ...]:
    labels = bag.labels if bag.labels is not None else tuple(str(number) for number in range(first.classes or 0))
    if len(labels) != first.classes:
        raise ConfigError(f"{bag.where}: labels: {len(labels)} of them, but {first.where} has {first.classes} classes")
    if bag.serving.top > len(labels):
        raise ConfigError(
            f"{bag.where}: [serving]: top = {bag.serving.top}; allowed: 0 to {len(labels)}, the number of classes"
        )
    return labels
