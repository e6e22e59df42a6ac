"""Shapes read from the input instead of from the middle of a member, so that they do not hold tensors alive.

torch's exporters read sizes off whatever tensor is at hand (`Shape` of the embeddings, or of the input behind the
QuantizeLinear that a quantiser put there) and use them until the end of the net: a cut would have to carry what depends
on them. A shape is taken from the input where only operators that keep shapes lie between. Where no input has a free
dimension beside the rows, every shape is the number of rows and constants.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exeunt_export.nodecosts import NodeCosts
from exeunt_export.readers.constants import constant, shape_with_rows
from exeunt_export.readers.graph import MemberGraph

_KEEP_SHAPE = frozenset(("QuantizeLinear", "DequantizeLinear", "Cast", "Identity", "Relu", "Clip", "Neg", "Dropout"))


def take_shapes_from_inputs(member: MemberGraph, costs: NodeCosts) -> None:
    """Make every `Shape` of a tensor inside follow the inputs, where it can; changes the member's graph."""
    graph = member.model.graph
    fixed = not any(dim < 0 for input_ in member.inputs for dim in input_.dims)
    for node in list(graph):
        value = node.inputs[0] if node.op_type == "Shape" and node.inputs else None
        if value is None or value.producer() is None:
            continue
        origin = _origin(value)
        if origin.is_graph_input():
            node.replace_input_with(0, origin)
            continue
        tensor = costs.tensors.get(value.name or "")
        if fixed and tensor is not None and all(dim >= 0 for dim in tensor.dims):
            _replace(graph, node, tensor.dims)


def _origin(value: ir.Value) -> ir.Value:
    """The value that operators which keep shapes made this one of."""
    producer = value.producer()
    while producer is not None and producer.op_type in _KEEP_SHAPE and producer.inputs[0] is not None:
        value = producer.inputs[0]
        producer = value.producer()
    return value


def _replace(graph: ir.Graph, node: ir.Node, dims: tuple[int, ...]) -> None:
    """Take the rows from the first input, the rest is constant; of a part of the shape only that part."""
    start, end = (node.attributes[key].as_int() if key in node.attributes else None for key in ("start", "end"))
    first, last, _ = slice(start, end).indices(1 + len(dims))
    if first >= last:
        return
    if first > 0:
        new_shape = constant(np.array(dims[first - 1 : last - 1], np.int64), f"{node.name}_constant", graph)
    else:
        nodes = shape_with_rows(graph.inputs[0], dims[: last - 1], node.name or "", graph)
        graph.insert_before(node, nodes)
        new_shape = nodes[-1].outputs[0]
    ir.convenience.replace_all_uses_with(node.outputs[0], new_shape)
    graph.remove(node, safe=True)
