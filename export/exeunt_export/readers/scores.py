"""A member's class scores, and how they become PROBABILITIES.

Taken as they come: scores or probabilities [rows, classes]; the same with trailing dimensions of 1, as fully
convolutional nets give them; [rows, 1] or [rows] of a binary classifier; the list of dictionaries (ZipMap) in which
skl2onnx hands out probabilities by default.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from exeunt.contract import PROBABILITIES
from exeunt.errors import ConfigError
from exeunt_export import onnxfiles
from exeunt_export.bagfile.tables import ONE_VS_REST
from exeunt_export.features import chunks
from exeunt_export.readers import refusals
from exeunt_export.readers.constants import append_node, constant

CURE_BATCH = (
    'export the model with a dynamic batch dimension (torch: dynamic_shapes={"x": {0: torch.export.Dim("rows")}}; '
    "tf2onnx: an input signature of [None, ...])"
)
_MANY = 64  # rows
_AT_ONCE = 8
_ENOUGH = 8  # rows that show a range
_LINEAR = ("Gemm", "MatMul", "Add", "Sub", "Conv", "Mul", "Div", "FusedMatMul")  # their numbers have no bounds
_LEAST_SHARE = 1e-9
_ROUNDING = 1e-6
_REDUCE_SUM_BY_INPUT = 13  # opset from which ReduceSum takes its axes as an input
_ROW_SUM_ATOL = 1e-3  # float16 probabilities sum to 1 within this
_SIGMOIDS = ("Sigmoid", "HardSigmoid")
_UNCHANGED = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Dropout")  # values stay


def exit_name(number: int) -> str:
    """Value of a member's own exit, counted from 1."""
    return f"EXIT{number}"


def to_probabilities(model: ir.Model, rows: Mapping[str, np.ndarray], where: str, kind: str = "auto") -> int:
    """Make PROBABILITIES, float32 [rows, classes], the only output; the number of classes.

    Further outputs become probabilities too, with the names of `exit_name`, but no outputs any more.

    Args:
        model: changed in place; from `choose_outputs`.
        rows: real inputs by the names in the graph.
        where: file, for messages.
        kind: "logits", "probabilities" or "one_vs_rest" where it is known; "auto" looks at the last operator and at
            real rows.

    Raises:
        ConfigError: the output is no classification, the graph fails on real rows, or exits have other classes.
    """
    measured = _scores_of(model, rows, where, (1, 7))
    if kind == "auto" and any(range_.size == len(range_) or _is_in_unit(range_) for range_ in measured):
        measured = _scores_of(model, rows, where, (_MANY,))  # whether scores are probabilities shows on many rows
    ends = list(model.graph.outputs)
    probabilities = [append_probabilities(model, *end, where, kind) for end in zip(ends, measured, strict=True)]
    (value, classes), exits = probabilities[0], probabilities[1:]
    for number, (exit_, exit_classes) in enumerate(exits, start=1):
        if exit_classes != classes:
            raise ConfigError(f"{where}: exits: number {number} has {exit_classes} classes, the last output {classes}")
        rename(model, exit_, exit_name(number))
    model.graph.outputs[:] = [value]
    rename(model, value, PROBABILITIES)
    return classes


def append_probabilities(
    model: ir.Model, scores: ir.Value, measured: np.ndarray, where: str, kind: str = "auto"
) -> tuple[ir.Value, int]:
    """Append what turns `scores` into class probabilities float32 [rows, classes].

    Args:
        model: changed in place; its outputs stay.
        scores: a value of its graph.
        measured: what it is on real rows.
        where: file, for messages.
        kind: see `to_probabilities`.

    Returns:
        the new value, and the number of classes.

    Raises:
        ConfigError: it is no classification.
    """
    flat = measured.reshape(len(measured), -1) if measured.ndim else measured
    one_axis_only = measured.ndim >= 1 and max(flat.shape[1:], default=0) == max(measured.shape[1:], default=1)
    if measured.dtype.kind != "f" or not one_axis_only or not flat.shape[1]:
        dense = f". It holds {refusals.why_dense(model, measured.ndim)}" if measured.ndim > 2 else ""
        raise ConfigError(
            f"{where}: output {scores.name!r} is {measured.dtype} of shape {['rows', *measured.shape[1:]]}, no "
            "classification; allowed: one float score or probability per class, [rows, classes >= 2], or one per "
            f"row for two classes, [rows, 1]{dense}"
        )
    last, value = _maker_op_type(scores), scores
    if measured.ndim == 1:
        value = _append(model, "Reshape", value, {}, np.array([-1, 1], np.int64))
    elif measured.ndim > 2:
        value = _append(model, "Flatten", value, {"axis": 1})
    if measured.dtype != np.float32:
        value = _append(model, "Cast", value, {"to": ir.DataType.FLOAT.value})
    value = _append_by_kind(model, value, scores.name or "", last, flat, kind, where)
    classes = max(2, flat.shape[1])
    if value is scores and len(model.graph.outputs) > 1:  # exits and what follows may read each other's values
        value = _append(model, "Identity", value, {})
    value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["rows", classes])
    return value, classes


def _append_by_kind(
    model: ir.Model, value: ir.Value, name: str, last: str, flat: np.ndarray, kind: str, where: str
) -> ir.Value:
    """What turns scores [rows, classes] of a kind into probabilities.

    Args:
        model: changed in place.
        value: the scores.
        name: of the output that they come from.
        last: operator that made it.
        flat: the scores measured.
        kind: see `to_probabilities`.
        where: file, for messages.
    """
    if flat.shape[1] == 1:
        return _append_both_classes(model, value, last, flat, kind)
    if last == "LogSoftmax" and kind == "auto":
        return _append(model, "Exp", value, {})
    if kind == ONE_VS_REST:
        return _append_shares(model, value, flat, where)
    if kind != "logits":
        if last == "Softmax" or _are_probabilities(flat):
            return value
        _check_scale(name, flat, last, kind, where)
    return _append(model, "Softmax", value, {"axis": 1})


def rename(model: ir.Model, value: ir.Value, name: str) -> None:
    """Give `value` a name, moving any other value of that name out of the way."""
    if value.name == name:
        return
    values = ir.convenience.create_value_mapping(model.graph, include_subgraphs=False)
    if name in values:
        free = f"{name}_"
        while free in values:
            free += "_"
        values[name].name = free
    value.name = name


def _maker_op_type(value: ir.Value) -> str:
    """The operator that made a value, looking through those that leave values as they are."""
    producer = value.producer()
    while producer is not None and producer.op_type in _UNCHANGED and producer.inputs and producer.inputs[0]:
        producer = producer.inputs[0].producer()
    return producer.op_type if producer is not None else ""


def _append_both_classes(model: ir.Model, value: ir.Value, last: str, measured: np.ndarray, kind: str) -> ir.Value:
    """[1 - p, p] from the score of class 1."""
    in_range = bool(((measured >= 0) & (measured <= 1)).all())
    if kind == "logits" or (kind == "auto" and last not in _SIGMOIDS and not in_range):
        value = _append(model, "Sigmoid", value, {})
    name, one = value.name, _constant(model, np.array(1.0, np.float32))
    other = append_node(model.graph, "Sub", [one, value], f"other_class_of_{name}", f"{name}_other")
    return append_node(model.graph, "Concat", [other, value], f"both_classes_of_{name}", f"{name}_both", {"axis": 1})


def _append_shares(model: ir.Model, value: ir.Value, measured: np.ndarray, where: str) -> ir.Value:
    """Probabilities of each class by itself, as shares of their sum in a row."""
    if not _is_in_unit(measured):
        raise ConfigError(
            f'{where}: scores = "{ONE_VS_REST}", but they leave 0..1 (from {measured.min():.3g} to '
            f'{measured.max():.3g}); allowed: scores = "logits" for these'
        )
    # so that a row of zeros does not divide by 0
    value = _append(model, "Add", value, {}, np.array(_LEAST_SHARE, np.float32))
    total = _append(model, "ReduceSum", value, {"keepdims": 1}, np.array([1], np.int64))
    if model.graph.opset_imports.get("", 0) < _REDUCE_SUM_BY_INPUT:
        node = total.producer()
        assert node is not None
        node.resize_inputs(1)
        node.attributes["axes"] = ir.AttrInt64s("axes", [1])
    return append_node(model.graph, "Div", [value, total], f"shares_of_{value.name}", f"{value.name}_shares")


def _check_scale(name: str, measured: np.ndarray, last: str, kind: str, where: str) -> None:
    """Refuse to take numbers for logits that were meant as something else."""
    if kind == "probabilities":
        sums = measured.astype(np.float64).sum(axis=1)
        raise ConfigError(
            f'{where}: scores = "probabilities", but rows of output {name!r} sum to {sums.min():.3g} to '
            f'{sums.max():.3g}; allowed: 1. Probabilities of each class by itself are scores = "{ONE_VS_REST}"'
        )
    if last in _SIGMOIDS or (last not in _LINEAR and len(measured) >= _ENOUGH and _is_in_unit(measured)):
        why = f"ends in {last}" if last in _SIGMOIDS else "lies in 0..1"
        raise ConfigError(
            f"{where}: output {name!r} {why}, and rows do not sum to 1: each class has a probability by itself. A bag "
            "gives one label a row: several at once (multi-label) cannot be served; where just one is right, "
            f'scores = "{ONE_VS_REST}" in its [[member]] takes the largest, and scores = "logits" reads them as logits'
        )


def _is_in_unit(scores: np.ndarray) -> bool:
    return bool(((scores >= 0) & (scores <= 1 + _ROUNDING)).all())


def _constant(model: ir.Model, array: np.ndarray) -> ir.Value:
    values = ir.convenience.create_value_mapping(model.graph, include_subgraphs=False)
    return constant(array, f"exeunt_constant_{len(values)}", model.graph)


def _append(
    model: ir.Model, op_type: str, value: ir.Value, attributes: dict[str, int], *constants: np.ndarray
) -> ir.Value:
    inputs = [value, *(_constant(model, constant_) for constant_ in constants)]
    kind = op_type.lower()
    return append_node(model.graph, op_type, inputs, f"{kind}_of_{value.name}", f"{value.name}_{kind}", attributes)


def _scores_of(
    model: ir.Model, rows: Mapping[str, np.ndarray], where: str, counts: tuple[int, ...]
) -> list[np.ndarray]:
    """Outputs on counts[-1] real rows; the graph is run on every count, to find a hidden fixed batch.

    Many rows are run some at a time: of large members a large batch takes much memory.
    """
    session = onnxfiles.open_in_memory(model, where)
    parts: list[list[np.ndarray]] = []
    for count in counts:
        most = min(count, *(len(row) for row in rows.values()))
        parts = []
        for part in chunks(most, _AT_ONCE):
            outputs = onnxfiles.run(session, {key: row[part] for key, row in rows.items()}, where)
            size = part.stop - part.start
            for scores in outputs.values():
                if scores.ndim and scores.shape[0] != size:
                    raise ConfigError(
                        f"{where}: {size} rows in, {scores.shape[0]} out: a fixed batch inside; {CURE_BATCH}"
                    )
            parts.append([np.asarray(scores) for scores in outputs.values()])
    return [np.concatenate(ends) if ends[0].ndim else ends[0] for ends in zip(*parts, strict=True)]


def _are_probabilities(scores: np.ndarray) -> bool:
    sums = scores.astype(np.float64).sum(axis=1)
    return bool((scores >= 0).all() and np.allclose(sums, 1.0, atol=_ROW_SUM_ATOL))
