"""The heads of one exit: its members' ramps as one small ONNX model."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from exeunt.contract import features_name, votes_name
from exeunt.export.onnxfiles import IR_VERSION, OPSET
from exeunt.export.ramps import Key, Ramp


def build_heads(name: str, ramps: Mapping[Key, Ramp]) -> ir.Model:
    """An ONNX model with `member.depth.features` float32 [rows, f] in and `member.depth` float32 [rows, classes] out.

    Args:
        name: of the graph.
        ramps: (member, depth) -> ramp, at least one.
    """
    inputs, outputs, nodes, weights = [], [], [], []
    for (member, depth), ramp in ramps.items():
        votes = votes_name(member, depth)
        features = _value(features_name(member, depth), ramp.weight.shape[0])
        weight, bias = (
            ir.Value(name=f"{votes}.{part}", const_value=ir.tensor(array, name=f"{votes}.{part}"))
            for part, array in (("weight", ramp.weight), ("bias", ramp.bias))
        )
        scores = ir.node("Gemm", [features, weight, bias], name=f"{votes}.gemm")
        scores.outputs[0].name = f"{votes}.scores"
        softmax = ir.node("Softmax", [scores.outputs[0]], attributes={"axis": 1}, name=f"{votes}.softmax")
        made = softmax.outputs[0]
        made.name, made.type = votes, ir.TensorType(ir.DataType.FLOAT)
        made.shape = ir.Shape(["rows", ramp.weight.shape[1]])
        inputs.append(features)
        outputs.append(made)
        nodes += [scores, softmax]
        weights += [weight, bias]
    graph = ir.Graph(inputs, outputs, nodes=nodes, initializers=weights, opset_imports={"": OPSET}, name=name)
    return ir.Model(graph, ir_version=IR_VERSION, producer_name="exeunt")


def _value(name: str, width: int) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["rows", width]))
