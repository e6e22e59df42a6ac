"""A member's class scores: which output holds them, and how they become PROBABILITIES.

Taken as they come: scores or probabilities [rows, classes]; the same with trailing dimensions of 1, as fully
convolutional nets give them; [rows, 1] or [rows] of a binary classifier; the list of dictionaries (ZipMap) in which
skl2onnx hands out probabilities by default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from exeunt.contract import PROBABILITIES
from exeunt.errors import ConfigError, unknown
from exeunt_export import onnxfiles
from exeunt_export.readers import refusals
from exeunt_export.readers.constants import constant

CURE_BATCH = (
    'export the model with a dynamic batch dimension (torch: dynamic_shapes={"x": {0: torch.export.Dim("rows")}}; '
    "tf2onnx: an input signature of [None, ...])"
)
_MANY = 64  # rows
_ROW_SUM_ATOL = 1e-3  # float16 probabilities sum to 1 within this
_SIGMOIDS = ("Sigmoid", "HardSigmoid")
_UNCHANGED = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Dropout")  # values stay
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.BFLOAT16)


def exit_name(number: int) -> str:
    """Value of a member's own exit, counted from 1."""
    return f"EXIT{number}"


def choose_outputs(model: ir.Model, output: str, exits: Sequence[str], where: str) -> None:
    """Leave a model the output that holds the class scores, and after it its own exits in depth order.

    Args:
        model: changed in place.
        output: see `choose_output`.
        exits: names of the outputs that are exits.
        where: file, for messages.

    Raises:
        ConfigError: no such output, one that is named twice, or several that could hold the scores.
    """
    outputs = {value.name or "": value for value in model.graph.outputs}
    for name in exits:
        if name not in outputs:
            raise unknown("output", name, outputs, f"{where}: exits")
        if list(exits).count(name) > 1 or name == output:
            raise ConfigError(f"{where}: exits: {name!r} is named twice; allowed: each output once, the last apart")
    branches = [outputs[name] for name in exits]
    model.graph.outputs[:] = [value for value in model.graph.outputs if value not in branches]
    model.graph.outputs[:] = [choose_output(model, output, where), *map(_without_zipmap, branches)]
    passes.RemoveUnusedNodesPass()(model)


def choose_output(model: ir.Model, output: str, where: str) -> ir.Value:
    """The output that holds the class scores.

    Without a name the one output, or the only one that can hold them: floating, [rows, classes] or a ZipMap.

    Args:
        model: of the member.
        output: its name; "" where it must be found.
        where: file, for messages.

    Raises:
        ConfigError: no such output, or several that could be meant.
    """
    outputs = {value.name or "": value for value in model.graph.outputs}
    if output:
        if output not in outputs:
            raise unknown("output", output, outputs, where)
        return _without_zipmap(outputs[output])
    fitting = [value for value in outputs.values() if len(outputs) == 1 or _may_hold_scores(value)]
    if len(fitting) == 1:
        return _without_zipmap(fitting[0])
    text = "; ".join(f"{name}: {_described(value)}" for name, value in outputs.items())
    example = (fitting[0].name if fitting else next(iter(outputs), "")) or ""
    raise ConfigError(
        f"{where}: {len(outputs)} outputs ({text}); say which holds the class scores: "
        f'output = "{example}" in its [[member]]'
    )


def to_probabilities(model: ir.Model, rows: Mapping[str, np.ndarray], where: str, kind: str = "auto") -> int:
    """Make PROBABILITIES, float32 [rows, classes], the only output; the number of classes.

    Further outputs become probabilities too, with the names of `exit_name`, but no outputs any more.

    Args:
        model: changed in place; from `choose_outputs`.
        rows: real inputs by the names in the graph.
        where: file, for messages.
        kind: "logits" or "probabilities" where it is known; "auto" looks at the last operator and at real rows.

    Raises:
        ConfigError: the output is no classification, the graph fails on real rows, or exits have other classes.
    """
    measured = _scores_of(model, rows, where, (1, 7))
    if kind == "auto" and any(range_.size == len(range_) for range_ in measured):
        measured = _scores_of(model, rows, where, (_MANY,))  # whether one score is a probability shows on many rows
    ends = list(model.graph.outputs)
    made = [append_probabilities(model, *end, where, kind) for end in zip(ends, measured, strict=True)]
    (value, classes), exits = made[0], made[1:]
    for number, (exit_, own) in enumerate(exits, start=1):
        if own != classes:
            raise ConfigError(f"{where}: exits: number {number} has {own} classes, the last output {classes}")
        rename(model, exit_, exit_name(number))
    model.graph.outputs[:] = [value]
    rename(model, value, PROBABILITIES)
    return classes


def append_probabilities(
    model: ir.Model, scores: ir.Value, measured: np.ndarray, where: str, kind: str = "auto"
) -> tuple[ir.Value, int]:
    """Append what turns `scores` into class probabilities float32 [rows, classes]; a value of its own, the classes.

    Args:
        model: changed in place; its outputs stay.
        scores: a value of its graph.
        measured: what it is on real rows.
        where: file, for messages.
        kind: see `to_probabilities`.

    Raises:
        ConfigError: it is no classification.
    """
    flat = measured.reshape(len(measured), -1) if measured.ndim else measured
    alone = measured.ndim >= 1 and max(flat.shape[1:], default=0) == max(measured.shape[1:], default=1)
    if measured.dtype.kind != "f" or not alone or not flat.shape[1]:
        raise ConfigError(
            f"{where}: output {scores.name!r} is {measured.dtype} of shape {['rows', *measured.shape[1:]]}, no "
            "classification; allowed: one float score or probability per class, [rows, classes >= 2], or one per "
            f"row for two classes, [rows, 1]{_why(model, measured)}"
        )
    last, value = _maker(scores), scores
    if measured.ndim == 1:
        value = _append(model, "Reshape", value, {}, np.array([-1, 1], np.int64))
    elif measured.ndim > 2:
        value = _append(model, "Flatten", value, {"axis": 1})
    if measured.dtype != np.float32:
        value = _append(model, "Cast", value, {"to": ir.DataType.FLOAT.value})
    if flat.shape[1] == 1:
        value = _both_classes(model, value, last, flat, kind)
    elif last == "LogSoftmax" and kind == "auto":
        value = _append(model, "Exp", value, {})
    elif kind == "logits" or (kind == "auto" and last != "Softmax" and not _are_probabilities(flat)):
        value = _append(model, "Softmax", value, {"axis": 1})
    classes = max(2, flat.shape[1])
    if value is scores and len(model.graph.outputs) > 1:  # exits and what follows may read each other's values
        value = _append(model, "Identity", value, {})
    value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["rows", classes])
    return value, classes


def rename(model: ir.Model, value: ir.Value, name: str) -> None:
    """Give `value` a name, moving any other value of that name out of the way."""
    if value.name == name:
        return
    taken = ir.convenience.create_value_mapping(model.graph, include_subgraphs=False)
    if name in taken:
        free = f"{name}_"
        while free in taken:
            free += "_"
        taken[name].name = free
    value.name = name


def _why(model: ir.Model, measured: np.ndarray) -> str:
    return f". It holds {refusals.why_dense(model, measured.ndim)}" if measured.ndim > 2 else ""


def _may_hold_scores(value: ir.Value) -> bool:
    if _is_zipmap(value):
        return True
    if value.dtype is not None and value.dtype not in _FLOATS:
        return False
    shape = value.shape
    return shape is None or len(shape) == 2 or (len(shape) > 2 and all(size == 1 for size in shape[2:]))


def _is_zipmap(value: ir.Value) -> bool:
    producer = value.producer()
    return producer is not None and producer.op_type == "ZipMap"


def _without_zipmap(value: ir.Value) -> ir.Value:
    """The tensor that a ZipMap takes apart: a server deals in tensors."""
    producer = value.producer()
    if producer is None or not _is_zipmap(value) or producer.inputs[0] is None:
        return value
    return producer.inputs[0]


def _described(value: ir.Value) -> str:
    if _is_zipmap(value):
        return "a list of dictionaries, class -> probability"
    kind = "of unknown type" if value.dtype is None else value.dtype.name.lower()
    if value.shape is None:
        return kind
    return f"{kind} {[size if isinstance(size, int) else str(size) for size in value.shape]}"


def _maker(value: ir.Value) -> str:
    """The operator that made a value, looking through those that leave values as they are."""
    producer = value.producer()
    while producer is not None and producer.op_type in _UNCHANGED and producer.inputs and producer.inputs[0]:
        producer = producer.inputs[0].producer()
    return producer.op_type if producer is not None else ""


def _both_classes(model: ir.Model, value: ir.Value, last: str, measured: np.ndarray, kind: str) -> ir.Value:
    """[1 - p, p] from the score of class 1."""
    in_range = bool(((measured >= 0) & (measured <= 1)).all())
    if kind == "logits" or (kind == "auto" and last not in _SIGMOIDS and not in_range):
        value = _append(model, "Sigmoid", value, {})
    node = ir.node("Sub", [_constant(model, np.array(1.0, np.float32)), value], name=f"other_class_of_{value.name}")
    node.outputs[0].name = f"{value.name}_other"
    model.graph.append(node)
    both = ir.node("Concat", [node.outputs[0], value], attributes={"axis": 1}, name=f"both_classes_of_{value.name}")
    both.outputs[0].name = f"{value.name}_both"
    model.graph.append(both)
    return both.outputs[0]


def _constant(model: ir.Model, array: np.ndarray) -> ir.Value:
    taken = ir.convenience.create_value_mapping(model.graph, include_subgraphs=False)
    return constant(array, f"exeunt_constant_{len(taken)}", model.graph)


def _append(
    model: ir.Model, op_type: str, value: ir.Value, attributes: dict[str, int], *constants: np.ndarray
) -> ir.Value:
    inputs = [value, *(_constant(model, constant_) for constant_ in constants)]
    node = ir.node(op_type, inputs, attributes=attributes, name=f"{op_type.lower()}_of_{value.name}")
    node.outputs[0].name = f"{value.name}_{op_type.lower()}"
    model.graph.append(node)
    return node.outputs[0]


def _scores_of(
    model: ir.Model, rows: Mapping[str, np.ndarray], where: str, counts: tuple[int, ...]
) -> list[np.ndarray]:
    """Outputs on real rows, of the last count; runs the graph as it was read for each, to find a hidden fixed batch."""
    session = onnxfiles.open_in_memory(model, where)
    for count in counts:
        found = onnxfiles.run(session, {key: row[:count] for key, row in rows.items()}, where)
        given = min(count, *(len(row) for row in rows.values()))
        for scores in found.values():
            if scores.ndim and scores.shape[0] != given:
                raise ConfigError(
                    f"{where}: {given} rows in, {scores.shape[0]} out: a fixed batch inside; {CURE_BATCH}"
                )
    return [np.asarray(node) for node in found.values()]


def _are_probabilities(scores: np.ndarray) -> bool:
    sums = scores.astype(np.float64).sum(axis=1)
    return bool((scores >= 0).all() and np.allclose(sums, 1.0, atol=_ROW_SUM_ATOL))
