"""Shapes read from the input instead of from the middle of a member, so that they do not hold tensors alive.

torch's TorchScript exporter reads sizes off whatever tensor is at hand (`Shape` of the embeddings, say) and uses them
until the end of the net: a cut would have to carry what depends on them. Where all inputs have one size, such a shape
is the number of rows and otherwise constant.
"""

from __future__ import annotations

import onnx_ir as ir

from exeunt_export.nodecosts import NodeCosts
from exeunt_export.readers.constants import shape_with_rows
from exeunt_export.readers.graph import MemberGraph


def rebase(member: MemberGraph, costs: NodeCosts) -> None:
    """Make every `Shape` of a tensor of known size follow the first input's rows; changes the member's graph.

    Nothing is done where an input has free dimensions besides the batch: sizes inside may follow them.
    """
    graph = member.model.graph
    if any(dim < 0 for input_ in member.inputs for dim in input_.dims):
        return
    for node in list(graph):
        value = node.inputs[0] if node.op_type == "Shape" and node.inputs else None
        tensor = costs.tensors.get(value.name or "") if value is not None and value.producer() is not None else None
        plain = not {"start", "end"} & set(node.attributes)
        if tensor is None or not plain or any(dim < 0 for dim in tensor.dims):
            continue
        made = shape_with_rows(graph.inputs[0], tensor.dims, node.name or "", graph)
        graph.insert_before(node, made)
        ir.convenience.replace_all_uses_with(node.outputs[0], made[-1].outputs[0])
        graph.remove(node, safe=True)
