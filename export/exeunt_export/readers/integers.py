"""Quantised graphs: what their integer tensors stand for, and where they are best cut.

onnxruntime fuses DequantizeLinear, an operator and QuantizeLinear into one integer operator. A cut at the float tensor
between two of them would tear such a group apart: the operator would then run on floats. So a quantised graph is cut at
the integers, a quarter of the bytes, and only the ramp's copy of them is dequantised.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from exeunt.manifest import Tensor
from exeunt_export.readers.constants import append_node

_QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QGemm", "ConvInteger", "MatMulInteger")
# operators that change no value: the scale of their output is that of their input
_SAME_SCALE = frozenset(("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Slice"))
_LOOKED_AT = 16  # values that the search for a scale visits
_DTYPES = ("uint8", "int8", "uint16", "int16")


def is_quantised(model: ir.Model) -> bool:
    """True if some of a model's operators work on integers that stand for real numbers."""
    return any(node.op_type in _QUANTISED or node.op_type.startswith("QLinear") for node in model.graph)


def is_batch_quantised(model: ir.Model) -> bool:
    """True if scales are found at run time, over a whole batch: a row's numbers then depend on its batch mates."""
    return any(node.op_type == "DynamicQuantizeLinear" for node in model.graph)


def scale_of(value: ir.Value) -> tuple[ir.Value, ir.Value] | None:
    """Scale and zero point of an integer tensor, one number each; None if unknown.

    Integer operators name them right behind each tensor that they take (ONNX: QLinearConv, DequantizeLinear and all
    others alike), so any consumer tells.
    """
    producer = value.producer()
    if producer is not None and producer.op_type == "QuantizeLinear":
        return _single_numbers(producer.inputs[1:3])
    front = [value]
    for _ in range(_LOOKED_AT):
        if not front:
            return None
        for node, place in front.pop(0).uses():
            if node.op_type == "DequantizeLinear" or node.op_type.startswith("QLinear") or node.op_type == "QGemm":
                return _single_numbers(node.inputs[place + 1 : place + 3])
            if node.op_type in _SAME_SCALE:
                front += list(node.outputs[:1])
    return None


def pooled_tensor(value: ir.Value, tensor: Tensor) -> Tensor:
    """What a ramp sees of a tensor: float32 in place of integers of a known scale."""
    if tensor.dtype in _DTYPES and scale_of(value) is not None:
        return Tensor(tensor.name, "float32", tensor.dims)
    return tensor


def dequantise(graph: ir.Graph, value: ir.Value, tensor: Tensor, name: str) -> ir.Value:
    """Append the node that makes floats of integers of a known scale; its output. Any other value comes back as it is.

    Args:
        graph: changed in place.
        value: the tensor.
        tensor: what it is.
        name: of the new node and its output.
    """
    scale = scale_of(value) if tensor.dtype in _DTYPES else None
    if scale is None:
        return value
    domain = next((reader.domain for reader in value.consumers() if reader.op_type == "DequantizeLinear"), "")
    # of 16 bits: Microsoft's, or opset 21
    return append_node(graph, "DequantizeLinear", [value, *scale], name, name, domain=domain)


def integers_behind(value: ir.Value) -> ir.Value:
    """The integers of a known scale behind a dequantised value that is no output; any other value itself."""
    producer = value.producer()
    if producer is None or producer.op_type != "DequantizeLinear" or value.is_graph_output():
        return value
    before = producer.inputs[0]
    return before if before is not None and not before.is_initializer() and scale_of(before) is not None else value


def dequantisers(node: ir.Node) -> set[ir.Node]:
    """The nodes that make floats of integers of a known scale for a node."""
    makers = {value.producer() for value in node.inputs if value is not None and integers_behind(value) is not value}
    return {maker for maker in makers if maker is not None}


def tears_a_group(value: ir.Value) -> bool:
    """True for a float tensor beside which there are the integers it was made from, or is about to become."""
    producer = value.producer()
    if producer is not None and producer.op_type == "DequantizeLinear":
        before = producer.inputs[0]
        return before is not None and not before.is_initializer() and scale_of(before) is not None
    consumers = value.consumers()
    return (
        len(consumers) == 1
        and consumers[0].op_type == "QuantizeLinear"
        and scale_of(consumers[0].outputs[0]) is not None
    )


def _single_numbers(pair: Sequence[ir.Value | None]) -> tuple[ir.Value, ir.Value] | None:
    """Scale and zero point if both are constants of one number."""
    constants = [v for v in pair if v is not None and v.const_value is not None and v.const_value.size == 1]
    return (constants[0], constants[1]) if len(constants) == 2 else None
