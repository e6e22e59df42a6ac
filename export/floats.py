"""Types of numbers in a member's graph: bfloat16 widened, and the types of values told where float16 occurs.

onnxruntime's CPU has no bfloat16 kernels, so such members become float32, which holds every bfloat16 exactly; they are
then as large as float32 members. float16 stays: the CPU computes it in float32 between casts of its own.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

_WIDE = ir.TensorType(ir.DataType.FLOAT)
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")


def widen_bfloat16(model: ir.Model) -> None:
    """Make every bfloat16 value, weight and cast of a model float32, in bodies too."""
    for graph in (model.graph, *model.graph.subgraphs()):
        for value in (*graph.inputs, *graph.initializers.values()):
            _widen_value(value)
        for node in graph:
            for value in node.outputs:
                _widen_value(value)
            for name, attribute in list(node.attributes.items()):
                if name in _TYPE_ATTRIBUTES and attribute.type == ir.AttributeType.INT:
                    if attribute.as_int() == ir.DataType.BFLOAT16.value:
                        node.attributes[name] = ir.AttrInt64(name, ir.DataType.FLOAT.value)
                elif attribute.type == ir.AttributeType.TENSOR:
                    tensor = attribute.as_tensor()
                    if tensor.dtype == ir.DataType.BFLOAT16:
                        node.attributes[name] = ir.AttrTensor(name, _widened(tensor))


def tell_types(model: ir.Model) -> None:
    """Infer types where a model has float16: the CPU's node profile shows float32 for them."""
    if any(value.dtype == ir.DataType.FLOAT16 for value in _all_values(model.graph)):
        passes.ShapeInferencePass()(model)


def _all_values(graph: ir.Graph) -> list[ir.Value]:
    return [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]


def _widen_value(value: ir.Value) -> None:
    if value.const_value is not None and value.const_value.dtype == ir.DataType.BFLOAT16:
        value.const_value = _widened(value.const_value)
        value.type = _WIDE
    if value.dtype == ir.DataType.BFLOAT16:
        value.type = _WIDE


def _widened(tensor: ir.TensorProtocol) -> ir.Tensor:
    return ir.Tensor(tensor.numpy().astype(ml_dtypes.bfloat16).astype(np.float32), name=tensor.name)
