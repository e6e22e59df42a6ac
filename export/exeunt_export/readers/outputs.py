"""Which of a member's outputs holds its class scores, and which are exits of its own."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes import common as passes

from exeunt.errors import ConfigError, check_known

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.BFLOAT16)


def choose_outputs(model: ir.Model, output: str, exits: Sequence[str], where: str, classes: int | None = None) -> None:
    """Leave a model the output that holds the class scores, and after it its own exits in depth order.

    Args:
        model: changed in place.
        output: see `choose_output`.
        exits: names of the outputs that are exits.
        where: file, for messages.
        classes: as many labels as the bag has, where it is known.

    Raises:
        ConfigError: no such output, one that is named twice, or several that could hold the scores.
    """
    outputs = {value.name or "": value for value in model.graph.outputs}
    for name in exits:
        check_known("output", name, outputs, f"{where}: exits")
        if list(exits).count(name) > 1 or name == output:
            raise ConfigError(f"{where}: exits: {name!r} is named twice; allowed: each output once, the last apart")
    branches = [outputs[name] for name in exits]
    model.graph.outputs[:] = [value for value in model.graph.outputs if value not in branches]
    model.graph.outputs[:] = [choose_output(model, output, where, classes), *map(_without_zipmap, branches)]
    passes.RemoveUnusedNodesPass()(model)


def choose_output(model: ir.Model, output: str, where: str, classes: int | None = None) -> ir.Value:
    """The output that holds the class scores.

    Without a name the one output, or the only one that can hold them: floating, [rows, classes] or a ZipMap.

    Args:
        model: of the member.
        output: its name; "" where it must be found.
        where: file, for messages.
        classes: as many labels as the bag has, where it is known.

    Raises:
        ConfigError: no such output, or several that could be meant.
    """
    outputs = {value.name or "": value for value in model.graph.outputs}
    if output:
        check_known("output", output, outputs, where)
        return _without_zipmap(outputs[output])
    fitting = [value for value in outputs.values() if len(outputs) == 1 or _may_hold_scores(value)]
    if len(fitting) == 1:
        return _without_zipmap(fitting[0])
    text = "; ".join(f"{name}: {_describe(value)}" for name, value in outputs.items())
    sized = [value for value in fitting if classes is not None and _width(value) == classes]
    proposed = f'output = "{sized[0].name}", which has as many classes as there are labels,' if len(sized) == 1 else ""
    raise ConfigError(
        f"{where}: {len(outputs)} outputs ({text}); say which holds the class scores: "
        f"{proposed or 'output = its name'} in its [[member]]"
    )


def _width(value: ir.Value) -> int | None:
    """How many classes an output declares."""
    size = value.shape[1] if value.shape is not None and len(value.shape) > 1 else None
    return size if isinstance(size, int) else None


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


def _describe(value: ir.Value) -> str:
    if _is_zipmap(value):
        return "a list of dictionaries, class -> probability"
    kind = "of unknown type" if value.dtype is None else value.dtype.name.lower()
    if value.shape is None:
        return kind
    return f"{kind} {[size if isinstance(size, int) else str(size) for size in value.shape]}"
