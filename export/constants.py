"""Constants that a rewritten graph needs."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


def constant(array: np.ndarray, name: str, graph: ir.Graph | None = None) -> ir.Value:
    """A constant of the array's type and shape; an initializer of the graph where one is given."""
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    value.type, value.shape = ir.TensorType(ir.DataType.from_numpy(array.dtype)), ir.Shape(array.shape)
    if graph is not None:
        graph.register_initializer(value)
    return value
