"""Small ONNX classifiers built node by node: no torch, no training, milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort


class Net:
    """Builds an image classifier; every method appends nodes and returns the new value."""

    def __init__(
        self, seed: int, shape: Sequence[int | str] = ("rows", 1, 16, 16), name: str = "IMAGE", opset: int = 18
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self.input = ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))
        self.graph = ir.Graph([self.input], [], nodes=[], opset_imports={"": opset}, name="net")
        self._next_number = 0

    def node(self, op_type: str, *inputs: ir.Value, **attributes: object) -> ir.Value:
        node = ir.node(op_type, inputs, attributes=attributes)
        node.outputs[0].name = f"{op_type.lower()}_{self._next_number}"
        self._next_number += 1
        self.graph.append(node)
        return node.outputs[0]

    def weight(self, *shape: int) -> ir.Value:
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else shape[0]
        return self.constant(self._rng.normal(size=shape).astype(np.float32) * np.float32(np.sqrt(2 / fan_in)))

    def constant(self, array: np.ndarray) -> ir.Value:
        name = f"weight_{self._next_number}"
        self._next_number += 1
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        value.type, value.shape = ir.TensorType(value.const_value.dtype), ir.Shape(array.shape)
        self.graph.register_initializer(value)
        return value

    def conv(self, x: ir.Value, channels: int, out: int, kernel: int = 3) -> ir.Value:
        weight = self.weight(out, channels, kernel, kernel)
        return self.node("Relu", self.node("Conv", x, weight, pads=[kernel // 2] * 4, kernel_shape=[kernel, kernel]))

    def residual(self, x: ir.Value, channels: int) -> ir.Value:
        inner = self.node("Conv", self.conv(x, channels, channels), self.weight(channels, channels, 3, 3), pads=[1] * 4)
        return self.node("Relu", self.node("Add", x, inner))

    def pool(self, x: ir.Value) -> ir.Value:
        return self.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    def logits(self, x: ir.Value, channels: int, classes: int, side: int) -> ir.Value:
        flat = self.node("Flatten", x, axis=1)
        return self.node("Gemm", flat, self.weight(channels * side * side, classes), self.weight(classes))

    def save(self, path: Path, *outputs: ir.Value) -> Path:
        for value in outputs:
            value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
        self.graph.outputs[:] = outputs
        ir.save(ir.Model(self.graph, ir_version=10), path)
        return path


def residual_net(
    path: Path,
    number: int = 0,
    seed: int = 0,
    classes: int = 8,
    side: int = 16,
    before_last: Callable[[Net, ir.Value], ir.Value] = lambda net, x: x,
) -> Path:
    """A residual CNN of 1 x side x side images; the higher `number`, the wider and slower.

    It is not trained, but its scores are centred and scaled on noise, so that labels and confidence vary.
    `before_last` appends to what the last layers take.
    """
    net = Net(100 * seed + number, ("rows", 1, side, side))
    width = 8 + 4 * number
    x = net.conv(net.input, 1, width)
    for _ in range(2 + number):
        x = net.residual(x, width)
    x = before_last(net, net.residual(net.conv(net.pool(x), width, 2 * width), 2 * width))
    raw = net.logits(net.pool(x), 2 * width, classes, side // 4)
    rows = noise_rows(64, seed=99, side=side)
    scores = ort.InferenceSession(net.save(path, raw)).run(None, {"IMAGE": rows})[0]
    centred = net.node("Sub", raw, net.constant(scores.mean(axis=0)))
    return net.save(path, net.node("Mul", centred, net.constant(2 / scores.std(axis=0))))


def noise_rows(rows: int, seed: int, side: int = 16) -> np.ndarray:
    """Blurred noise, float32 [rows, 1, side, side]."""
    noise = np.random.default_rng(seed).normal(size=(rows, 1, side, side)).astype(np.float32)
    return np.asarray(sum(np.roll(noise, shift, axis=(2, 3)) for shift in range(4)))


def two_cell_net(path: Path, cells: int = 4, classes: int = 8) -> Path:
    """NASNet's shape: every cell reads the two cells before it, so no cut between cells is narrower than 2."""
    net = Net(7)
    before, last = net.conv(net.input, 1, 8), net.conv(net.conv(net.input, 1, 8), 8, 8)
    for _ in range(cells):
        left, right = net.conv(before, 8, 8), net.conv(net.conv(last, 8, 8), 8, 8)
        before, last = last, net.node("Add", left, right)
    both = net.node("Add", before, last)
    return net.save(path, net.logits(net.pool(both), 8, classes, 8))
