"""A member's graph: read, checked, and brought into one form (inputs named as the bag's, one output PROBABILITIES)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.passes import common as passes

from exeunt.errors import ConfigError
from exeunt.manifest import Tensor
from exeunt_export import onnxfiles
from exeunt_export.bagfile.tables import BagMember
from exeunt_export.readers import floats, naming, preprocessing, refusals
from exeunt_export.readers.class_names import names_in
from exeunt_export.readers.free_batch import with_free_batch
from exeunt_export.readers.outputs import choose_outputs
from exeunt_export.readers.public_inputs import check_inputs, check_samples, public_tensor
from exeunt_export.readers.row_independence import check_rows_independent
from exeunt_export.readers.scores import exit_name, rename, to_probabilities

LEAST_IR_VERSION = 8


@dataclass(frozen=True, slots=True)
class MemberGraph:
    """One member's graph.

    Attributes:
        name: the member's name.
        where: its file, for messages.
        model: every node named uniquely; inputs carry the public names; the output is float32 PROBABILITIES.
        inputs: the public inputs it takes, dims of one row.
        classes: number of classes.
        exits: values that are exits of its own, float32 probabilities [rows, classes], in depth order.
        remarks: what the operator should know of it.
        class_names: the file's own names of its classes, in the order of its columns; None where it has none.
    """

    name: str
    where: str
    model: ir.Model
    inputs: tuple[Tensor, ...]
    classes: int
    exits: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = None


def read(path: Path) -> ir.Model:
    """Read an ONNX file and tidy it: functions inlined, constants as initializers, nodes in order, no dead nodes.

    Raises:
        ConfigError: no such file, not ONNX, or weights beside it that cannot be read.
    """
    try:
        model = onnxfiles.load(path)
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"{path}: no such file; a member is an ONNX file") from None
    except (DecodeError, ir.serde.SerdeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path}: not an ONNX model: {onnxfiles.first_line(error)}") from None
    if not len(model.graph):
        raise ConfigError(f"{path}: not an ONNX model, or one without nodes; export it again")
    tidy = ir.passes.Sequential(
        passes.InlinePass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=False, size_limit=0),
        passes.RemoveInitializersFromInputsPass(),  # a constant given as an extra input (IR < 4, tf2onnx)
        passes.TopologicalSortPass(),
        passes.RemoveUnusedNodesPass(),
        passes.ClearMetadataAndDocStringPass(),  # exporters leave stack traces with machine paths there
        passes.NameFixPass(),
    )
    tidy(model)
    # IR 3 wants every initializer among the inputs, and none is there any more
    model.ir_version = max(model.ir_version or 0, LEAST_IR_VERSION)
    _free_negative_dims(model)
    onnxfiles.map_weights(model, str(path))
    floats.widen_bfloat16(model)
    floats.infer_float16_types(model)
    for number, node in enumerate(model.graph):
        node.name = f"exeunt_node_{number}"  # unlike any name in a body of an If, since profiles identify nodes by name
    return model


@dataclass(frozen=True, slots=True)
class Draft:
    """A member that has been read and checked by what its file declares; it has not been run.

    Attributes:
        name: the member's name.
        where: its file, for messages.
        model: inputs carry the public names, constants are folded in; outputs are the scores, and after them the exits.
        samples: public input -> real rows, in the types that the file declares.
        samples_key: key and file of the samples, for messages.
        scores: what the output holds, or "auto".
        class_names: the file's own names of its classes, in the order of its columns; None where it has none.
        notes: what was done to the samples.
    """

    name: str
    where: str
    model: ir.Model
    samples: Mapping[str, np.ndarray]
    samples_key: str = "samples"
    scores: str = "auto"
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> int | None:
        """As many as the output declares; None where it does not."""
        shape = self.model.graph.outputs[0].shape
        if shape is None or len(shape) < 2 or not isinstance(shape[1], int) or any(size != 1 for size in shape[2:]):
            return None
        return max(2, shape[1])


def draft_member(
    member: BagMember,
    samples: Mapping[str, np.ndarray],
    samples_key: str = "samples",
    classes: int | None = None,
) -> Draft:
    """Read a member, and refuse what its file shows to be no classifier of these samples, before it is run.

    Args:
        member: as the bag file says.
        samples: public input -> real rows, [rows, ...]. A member with one input takes the bag's one input whatever
            its own name for it; where that has no name yet (""), the member's name for it stays. An array whose
            shape is that of an input without batch dimension is folded in as a constant.
        samples_key: key and file of the samples, for messages.
        classes: as many labels as the bag has, where it is known.

    Raises:
        ConfigError: not a classifier that can be served here; the message names file, tensor and cure.
    """
    model, where = read(member.file), str(member.file)
    names = names_in(model, member.file)
    if member.preprocess is not None:
        preprocessing.merge(model, read(member.preprocess), member.preprocess, where)
    naming.name_inputs(model, member.inputs, where)
    naming.widen_flat_inputs(model)
    samples = _fold_constants(model, samples)
    refusals.check_graph(model, where, member.output, samples)
    choose_outputs(model, member.output, member.exits, where, classes)
    _drop_unread_inputs(model)
    if set(samples) == {""} and len(model.graph.inputs) == 1:
        samples = {model.graph.inputs[0].name or "": samples[""]}
    elif len(samples) == len(model.graph.inputs) == 1:
        rename(model, model.graph.inputs[0], next(iter(samples)))
    samples, notes = naming.cast_to_declared(model, samples)
    check_inputs(model, samples, where, samples_key)
    return Draft(member.name, where, model, samples, samples_key, member.scores, names, tuple(notes))


def finish_member(draft: Draft) -> MemberGraph:
    """Bring a member into the bag's form, running it on some rows.

    Raises:
        ConfigError: see `draft_member`.
    """
    where, samples_key, samples = draft.where, draft.samples_key, draft.samples
    exits = len(draft.model.graph.outputs) - 1
    model, remark = with_free_batch(draft.model, samples, where)
    tensors = tuple(public_tensor(value, where, model.graph.inputs) for value in model.graph.inputs)
    samples = naming.as_columns(samples, {tensor_.name: tensor_ for tensor_ in tensors})
    for tensor in tensors:
        check_samples(tensor, samples[tensor.name], where, samples_key)
    rows = {tensor_.name: samples[tensor_.name] for tensor_ in tensors}
    classes = to_probabilities(model, rows, where, draft.scores)
    check_rows_independent(model, rows, where)
    exit_names = tuple(exit_name(number) for number in range(1, exits + 1))
    names = draft.class_names if draft.class_names is not None and len(draft.class_names) == classes else None
    remarks = (*draft.notes, *([remark] if remark else []))
    return MemberGraph(draft.name, where, model, tensors, classes, exit_names, remarks, names)


def load_member(name: str, path: Path, samples: Mapping[str, np.ndarray], **more: Any) -> MemberGraph:
    """A member by itself: read, checked and brought into the bag's form.

    Args:
        name: the member's name.
        path: its ONNX file.
        samples: as for `draft_member`.
        more: other fields of BagMember.

    Raises:
        ConfigError: see `draft_member`.
    """
    return finish_member(draft_member(BagMember(name, path, **more), samples))


def without_exits(member: MemberGraph) -> ir.Model:
    """The member's graph without exits of its own: what the baseline runs."""
    if not member.exits:
        return member.model
    model = member.model.clone()
    passes.RemoveUnusedNodesPass()(model)
    return model


def _free_negative_dims(model: ir.Model) -> None:
    """A size of -1 (Paddle2ONNX) means free, as a symbol does."""
    for value in (*model.graph.inputs, *model.graph.outputs):
        sizes = list(value.shape or ())
        negative = [place for place, size in enumerate(sizes) if isinstance(size, int) and size < 0]
        if negative:
            free: list[int | str | None] = [size if isinstance(size, int) else str(size) for size in sizes]
            for place in negative:
                free[place] = f"free_{place}" if place else "rows"
            value.shape = ir.Shape(free)


def _fold_constants(model: ir.Model, samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Turn inputs whose sample is a constant into initializers; the samples of the other inputs."""
    remaining = dict(samples)
    for value in list(model.graph.inputs):
        sample = remaining.get(value.name or "")
        if sample is None or value.shape is None or not value.shape.is_static() or not len(model.graph.inputs) > 1:
            continue
        if tuple(value.shape.numpy()) == sample.shape:
            model.graph.inputs.remove(value)
            value.const_value = ir.tensor(sample, name=value.name)
            model.graph.register_initializer(value)
            del remaining[value.name or ""]
    return remaining


def _drop_unread_inputs(model: ir.Model) -> None:
    """Drop inputs that no node reads, as tf2onnx leaves constants behind that it has folded; the first one stays."""
    for value in list(model.graph.inputs)[::-1]:
        if not value.uses() and value not in model.graph.outputs and len(model.graph.inputs) > 1:
            model.graph.inputs.remove(value)
