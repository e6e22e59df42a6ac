"""Untrained networks to export: a small residual CNN, one of MobileNetV2's layers and size, and one of any size."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

SIDE, WIDTH, BLOCKS = 8, 8, 12  # of the small one
MOBILE_SIDE = 224
# expansion, channels, blocks, stride of the first: the table of the paper
_MOBILE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class _Net:
    """Appends nodes to a graph with one image as input."""

    def __init__(self, seed: int, shape: tuple[int, int, int]) -> None:
        self._rng = np.random.default_rng(seed)
        self.image = ir.Value(name="IMAGE", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["rows", *shape]))
        self.graph = ir.Graph([self.image], [], nodes=[], opset_imports={"": 18}, name="member")

    def constant(self, array: np.ndarray) -> ir.Value:
        name = f"weight_{len(self.graph.initializers)}"
        value = ir.Value(name=name, const_value=ir.tensor(array.astype(np.float32), name=name))
        self.graph.register_initializer(value)
        return value

    def weight(self, *shape: int) -> ir.Value:
        fan_in = int(np.prod(shape[1:])) if len(shape) > 2 else shape[0]
        return self.constant(self._rng.normal(size=shape) * np.sqrt(2 / fan_in))

    def node(self, op_type: str, *inputs: ir.Value, **attributes: int | float | list[int]) -> ir.Value:
        self.graph.append(ir.node(op_type, inputs, attributes=attributes))
        self.graph[-1].outputs[0].name = f"value_{len(self.graph)}"
        return self.graph[-1].outputs[0]

    def finished(self, scores: ir.Value, classes: int) -> ir.Model:
        scores.type, scores.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["rows", classes])
        self.graph.outputs.append(scores)
        return ir.Model(self.graph, ir_version=10)


def small(seed: int, classes: int) -> ir.Model:
    """Residual blocks with instance normalisation, then one linear layer; logits [rows, classes]; about 1 ms."""
    net = _Net(seed, (1, SIDE, SIDE))
    one, zero, last = net.constant(np.ones(WIDTH)), net.constant(np.zeros(WIDTH)), net.image
    for number in range(BLOCKS + 1):
        kernel = net.weight(WIDTH, WIDTH if number else 1, 3, 3)
        branch = net.node("Conv", last, kernel, pads=[1] * 4)
        branch = net.node("Relu", net.node("InstanceNormalization", branch, one, zero))
        last = net.node("Add", last, branch) if number else branch
    flat = net.node("Flatten", last, axis=1)
    return net.finished(net.node("MatMul", flat, net.weight(WIDTH * SIDE * SIDE, classes)), classes)


def dense(seed: int, classes: int, layers: int, width: int = 1024) -> ir.Model:
    """Linear layers with 4 MB of weights each, on small images; logits [rows, classes]."""
    net = _Net(seed, (1, SIDE, SIDE))
    x = net.node("Relu", net.node("MatMul", net.node("Flatten", net.image, axis=1), net.weight(SIDE**2, width)))
    for _ in range(layers):
        x = net.node("Relu", net.node("MatMul", x, net.weight(width, width)))
    return net.finished(net.node("MatMul", x, net.weight(width, classes)), classes)


def mobile(seed: int, classes: int) -> ir.Model:
    """MobileNetV2 at 224 x 224, batch normalisation folded: 14 MB with 1000 classes, about 15 ms."""
    net = _Net(seed, (3, MOBILE_SIDE, MOBILE_SIDE))

    def conv(x: ir.Value, before: int, after: int, kernel: int, stride: int, group: int = 1) -> ir.Value:
        weight, bias = net.weight(after, before // group, kernel, kernel), net.constant(np.zeros(after))
        sizes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4}
        return net.node("Conv", x, weight, bias, group=group, **sizes)

    low, high = net.constant(np.array(0.0)), net.constant(np.array(6.0))

    def relu6(x: ir.Value) -> ir.Value:
        return net.node("Clip", x, low, high)

    x, channels = relu6(conv(net.image, 3, 32, 3, 2)), 32
    for expansion, after, blocks, first in _MOBILE:
        for block in range(blocks):
            stride, wide = first if block == 0 else 1, expansion * channels
            branch = relu6(conv(x, channels, wide, 1, 1)) if expansion > 1 else x
            branch = conv(relu6(conv(branch, wide, wide, 3, stride, wide)), wide, after, 1, 1)
            x = net.node("Add", x, branch) if stride == 1 and channels == after else branch
            channels = after
    x = net.node("GlobalAveragePool", relu6(conv(x, channels, 1280, 1, 1)))
    flat = net.node("Flatten", x, axis=1)
    return net.finished(net.node("Gemm", flat, net.weight(1280, classes), net.constant(np.zeros(classes))), classes)
