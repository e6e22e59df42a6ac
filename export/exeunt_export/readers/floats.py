"""Types of numbers in a member's graph: bfloat16 widened, float16 widened where it crosses a cut.

onnxruntime's CPU has no bfloat16 kernels, so such members become float32, which holds every bfloat16 exactly; they are
then as large as float32 members. float16 stays: the CPU computes it in float32 and rounds only where a graph ends. A
cut would add such an end; so cut tensors are float32, and nothing more is rounded.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from exeunt.manifest import Tensor

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
                        node.attributes[name] = ir.AttrTensor(name, _as_float32(tensor))


def crossing_tensor(tensor: Tensor) -> Tensor:
    """A tensor as it crosses a cut: float32 in place of float16."""
    return Tensor(tensor.name, "float32", tensor.dims) if tensor.dtype == "float16" else tensor


def widen_crossing(graph: ir.Graph, value: ir.Value) -> None:
    """Make a float16 value, a cut tensor under its last name, cross as float32; who reads it narrows it again."""
    producer = value.producer()
    if producer is None or value.dtype != ir.DataType.FLOAT16:
        return
    readers = tuple(value.uses())
    wide = ir.node("Cast", [value], {"to": ir.DataType.FLOAT.value}, name=f"{value.name}_widened")
    narrow = ir.node("Cast", [wide.outputs[0]], {"to": ir.DataType.FLOAT16.value}, name=f"{value.name}_narrowed")
    for reader, place in readers:
        reader.replace_input_with(place, narrow.outputs[0])
    graph.insert_after(producer, [wide, narrow])
    narrow.outputs[0].name, narrow.outputs[0].type = f"{value.name}_float16", value.type
    value.name, wide.outputs[0].name = f"{value.name}_inner", value.name
    wide.outputs[0].type, wide.outputs[0].shape = _WIDE, value.shape


def infer_float16_types(model: ir.Model) -> None:
    """Infer types where a model has float16: the CPU's node profile shows float32 for them."""
    graph = model.graph
    values = (*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs))
    if any(value.dtype == ir.DataType.FLOAT16 for value in values):
        passes.ShapeInferencePass()(model)


def _widen_value(value: ir.Value) -> None:
    if value.const_value is not None and value.const_value.dtype == ir.DataType.BFLOAT16:
        value.const_value = _as_float32(value.const_value)
        value.type = _WIDE
    if value.dtype == ir.DataType.BFLOAT16:
        value.type = _WIDE


def _as_float32(tensor: ir.TensorProtocol) -> ir.Tensor:
    return ir.Tensor(tensor.numpy().astype(ml_dtypes.bfloat16).astype(np.float32), name=tensor.name)
