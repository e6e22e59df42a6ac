"""The heads of one exit: its members' ramps as one small ONNX model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from exeunt.contract import features_name, votes_name
from exeunt_export.onnxfiles import IR_VERSION, OPSET
from exeunt_export.ramps.train import AnyRamp, MemberDepth, OwnRamp


def build_heads(name: str, ramps: Mapping[MemberDepth, AnyRamp], learn: bool = False) -> ir.Model:
    """An ONNX model with `member.depth.features` float32 [rows, f] in and `member.depth` float32 [rows, classes] out.

    Args:
        name: of the graph.
        ramps: (member, depth) -> ramp, at least one.
        learn: whoever runs the model may feed other weights, `member.depth.weight` and `.bias`. With onnxruntime 1.31
            that costs nothing: 2000 features, 1000 classes, one row take 322 us instead of 350, 271 with weights fed.
    """
    inputs, outputs, nodes, weights = [], [], [], []
    for (member, depth), ramp in ramps.items():
        votes = votes_name(member, depth)
        if isinstance(ramp, OwnRamp):
            features = _value(features_name(member, depth), ramp.classes)
            passed = ir.node("Identity", [features], name=f"{votes}.own")
            inputs.append(features)
            outputs.append(_declare_output(passed.outputs[0], votes, ramp.classes))
            nodes.append(passed)
            continue
        features = _value(features_name(member, depth), ramp.weight.shape[0])
        weight, bias = (
            _initializer(f"{votes}.{part}", array) for part, array in (("weight", ramp.weight), ("bias", ramp.bias))
        )
        scores = ir.node("Gemm", [features, weight, bias], name=f"{votes}.gemm")
        scores.outputs[0].name = f"{votes}.scores"
        softmax = ir.node("Softmax", [scores.outputs[0]], attributes={"axis": 1}, name=f"{votes}.softmax")
        inputs += [features, weight, bias] if learn else [features]
        outputs.append(_declare_output(softmax.outputs[0], votes, ramp.weight.shape[1]))
        nodes += [scores, softmax]
        weights += [weight, bias]
    graph = ir.Graph(inputs, outputs, nodes=nodes, initializers=weights, opset_imports={"": OPSET}, name=name)
    return ir.Model(graph, ir_version=IR_VERSION, producer_name="exeunt")


def _initializer(name: str, array: np.ndarray) -> ir.Value:
    kind, shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(array.shape)
    return ir.Value(name=name, const_value=ir.tensor(array, name=name), type=kind, shape=shape)


def _declare_output(value: ir.Value, name: str, width: int) -> ir.Value:
    value.name, value.type, value.shape = name, ir.TensorType(ir.DataType.FLOAT), ir.Shape(["rows", width])
    return value


def _value(name: str, width: int) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["rows", width]))
