"""Shapes read from the input instead of from the middle of a member, so that they do not hold tensors alive.

torch's TorchScript exporter reads sizes off whatever tensor is at hand (`Shape` of the embeddings, say) and uses them
until the end of the net: a cut would have to carry what depends on them. Where all inputs have one size, such a shape
is the number of rows and otherwise constant.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exeunt.export.constants import constant
from exeunt.export.graph import MemberGraph
from exeunt.export.nodecosts import NodeCosts


def rebase(member: MemberGraph, costs: NodeCosts) -> None:
    """Make every `Shape` of a tensor of known size follow the first input's rows; changes the member's graph.

    Nothing is done where an input has free dimensions besides the batch: sizes inside may follow them.
    """
    graph = member.model.graph
    if any(dim < 0 for each in member.inputs for dim in each.dims):
        return
    for node in list(graph):
        value = node.inputs[0] if node.op_type == "Shape" and node.inputs else None
        tensor = costs.tensors.get(value.name or "") if value is not None and value.producer() is not None else None
        plain = not {"start", "end"} & set(node.attributes)
        if tensor is None or not plain or any(dim < 0 for dim in tensor.dims):
            continue
        prefix = node.name or ""
        shape = ir.node("Shape", [graph.inputs[0]], name=f"{prefix}_input")
        ends = [constant(np.array([number]), f"{prefix}_{number}", graph) for number in (0, 1)]
        rows = ir.node("Slice", [shape.outputs[0], ends[0], ends[1], ends[0]], name=f"{prefix}_rows")
        dims = constant(np.array(tensor.dims, np.int64), f"{prefix}_dims", graph)
        joined = ir.node("Concat", [rows.outputs[0], dims], attributes={"axis": 0}, name=f"{prefix}_shape")
        made = [shape, rows, joined]
        for each in made:
            each.outputs[0].name = f"{each.name}_value"
        graph.insert_before(node, made)
        ir.convenience.replace_all_uses_with(node.outputs[0], joined.outputs[0])
        graph.remove(node, safe=True)
