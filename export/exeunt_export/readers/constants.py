"""Constants, nodes and shapes that a rewritten graph needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir


def constant(array: np.ndarray, name: str, graph: ir.Graph | None = None) -> ir.Value:
    """A constant of the array's type and shape; an initializer of the graph where one is given."""
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    value.type, value.shape = ir.TensorType(ir.DataType.from_numpy(array.dtype)), ir.Shape(array.shape)
    if graph is not None:
        graph.register_initializer(value)
    return value


def append_node(
    graph: ir.Graph,
    op_type: str,
    inputs: Sequence[ir.Value],
    name: str,
    value_name: str,
    attributes: Mapping[str, int | Sequence[int]] | None = None,
    domain: str = "",
) -> ir.Value:
    """Append a node with one output to a graph; the output, named `value_name`."""
    node = ir.node(op_type, inputs, attributes=attributes, name=name, domain=domain)
    node.outputs[0].name = value_name
    graph.append(node)
    return node.outputs[0]


def shape_with_rows(source: ir.Value, dims: Sequence[int], prefix: str, graph: ir.Graph) -> list[ir.Node]:
    """Nodes, still to be inserted, the last of which makes the shape [rows of `source`, *dims]."""
    ends = [constant(np.array([number]), f"{prefix}_{number}", graph) for number in (0, 1)]
    rest = constant(np.array(dims, np.int64), f"{prefix}_dims", graph)
    shape = ir.node("Shape", [source], name=f"{prefix}_source")
    rows = ir.node("Slice", [shape.outputs[0], ends[0], ends[1], ends[0]], name=f"{prefix}_rows")
    joined = ir.node("Concat", [rows.outputs[0], rest], attributes={"axis": 0}, name=f"{prefix}_shape")
    for node in (nodes := [shape, rows, joined]):
        node.outputs[0].name = f"{node.name}_value"
    return nodes
