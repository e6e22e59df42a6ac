"""Members whose answer to a row depends on the rows beside it cannot be served: their answer would change with load."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from exeunt.contract import PROBABILITIES
from exeunt.errors import ConfigError
from exeunt_export import onnxfiles

MATES = 4  # rows in a batch beside the one that is compared
TOLERANCE = 1e-3  # of a probability: rounding differs between batch sizes by far less
TOLERANCE_DYNAMIC = 0.2  # scales of dynamically quantised tensors are taken over the whole batch, on purpose
_DYNAMIC = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")


def check_rows_independent(model: ir.Model, rows: Mapping[str, np.ndarray], where: str) -> None:
    """Compare a row alone with the same row beside different others.

    Args:
        model: makes PROBABILITIES, [rows, classes].
        rows: real inputs by name, [rows, ...].
        where: file, for messages.

    Raises:
        ConfigError: the answers differ; names the first node that mixes rows where it can be found.
    """
    batches = _batches(rows)
    if batches is None:
        return
    dynamic = any(node.op_type in _DYNAMIC for node in model.graph)
    allowed = TOLERANCE_DYNAMIC if dynamic else TOLERANCE
    session = onnxfiles.open_in_memory(model, where)
    alone, *others = [onnxfiles.run(session, batch, where)[PROBABILITIES][-1] for batch in batches]
    worst = max(float(np.nanmax(np.abs(other - alone), initial=0.0)) for other in others)
    if worst <= allowed:
        return
    culprit = _first_mixer(model, batches, where)
    raise ConfigError(
        f"{where}: its answer to a row depends on the rows beside it in the batch (a probability differs by "
        f"{worst:.2g}){culprit}; allowed: rows that are answered apart, since a server chooses who shares a batch"
    )


def _batches(rows: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]] | None:
    """The last row alone, and twice with others before it; None where there are too few rows that differ."""
    count = min((len(array) for array in rows.values()), default=0)
    if count < 2 * MATES + 1:
        return None
    places = [slice(0, MATES), slice(MATES, 2 * MATES)]
    last = {name: array[2 * MATES : 2 * MATES + 1] for name, array in rows.items()}
    mixed = [{name: np.concatenate([array[place], last[name]]) for name, array in rows.items()} for place in places]
    return [last, *mixed]


def _first_mixer(model: ir.Model, batches: list[dict[str, np.ndarray]], where: str) -> str:
    """The first node whose output for the row differs, in words; "" where no such output can be looked at."""
    probe = model.clone()
    passes.ShapeInferencePass()(probe)  # an output needs a type
    values = [
        value
        for node in probe.graph
        for value in node.outputs
        if value.name and value.dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE)
    ]
    probe.graph.outputs[:] = values
    try:
        session = onnxfiles.open_in_memory(probe, where)
        alone, *others = [onnxfiles.run(session, batch, where) for batch in batches]
    except ConfigError:
        return ""
    for value in values:
        name, producer = value.name or "", value.producer()
        one, many = alone[name], [other[name] for other in others]
        if one.ndim == 0 or len(one) != 1 or any(len(other) != MATES + 1 for other in many):
            if one.shape == many[0].shape and not np.allclose(one, many[0], rtol=1e-3, atol=1e-3, equal_nan=True):
                return f"; the first to mix them is {producer.op_type if producer else ''} (output {name!r})"
            continue
        scale = max(1.0, float(np.nanmax(np.abs(one), initial=0.0)))
        if any(float(np.nanmax(np.abs(other[-1:] - one), initial=0.0)) > TOLERANCE * scale for other in many):
            return f"; the first to mix them is {producer.op_type if producer else ''} (output {name!r})"
    return ""
