"""The digits bag's members as ONNX: convolutions, each with ReLU, then linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exeunt.demo.data import SIZE_PX

if TYPE_CHECKING:
    import onnx_ir as ir

OPSET, IR_VERSION = 18, 10
ROWS = 256  # of one run, for features
Layers = list[tuple[np.ndarray, np.ndarray]]  # weights float32 [in, out], biases float32 [out]


class Net:
    """A graph from `image`, float32 [rows, 1, 32, 32], that grows node by node; `last` is what it makes so far."""

    def __init__(self) -> None:
        import onnx_ir as ir

        self._ir = ir
        shape = ir.Shape(["rows", 1, SIZE_PX, SIZE_PX])
        self.last = ir.Value(name="image", type=ir.TensorType(ir.DataType.FLOAT), shape=shape)
        self.graph = ir.Graph([self.last], [], nodes=[], opset_imports={"": OPSET}, name="member")

    def add(self, operator: str, *constants: np.ndarray, **attributes: int | list[int]) -> None:
        """A node on top, with constants as further inputs."""
        inputs = [self.last]
        for array in constants:
            name = f"weights_{len(self.graph.initializers)}"
            inputs.append(self._ir.Value(name=name, const_value=self._ir.tensor(array, name=name)))
            self.graph.register_initializer(inputs[-1])
        self.graph.append(self._ir.node(operator, inputs, attributes=attributes))
        self.last = self.graph[-1].outputs[0]
        self.last.name = f"made_{len(self.graph)}"

    def convolve(self, kernels: Sequence[np.ndarray]) -> None:
        """Convolutions; each but the first halves the image. Then means of 2 x 2, and rows of numbers."""
        for number, kernel in enumerate(kernels):
            side = kernel.shape[2]
            strides, pads = [2 if number else 1] * 2, [side // 2] * 4
            self.add("Conv", kernel, kernel_shape=[side] * 2, strides=strides, pads=pads)
            self.add("Relu")
        self.add("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
        self.add("Flatten")

    def finished(self, name: str, width: int | str) -> ir.Model:
        """The model, whose output is what was made last."""
        ir = self._ir
        self.last.name = name
        self.last.type, self.last.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["rows", width])
        self.graph.outputs.append(self.last)
        return ir.Model(self.graph, ir_version=IR_VERSION)


def features(kernels: Sequence[np.ndarray], images: np.ndarray) -> np.ndarray:
    """What the convolutions make of images: float32 [rows, features] from float32 [rows, 1, 32, 32]."""
    import onnx_ir as ir
    import onnxruntime

    net = Net()
    net.convolve(kernels)
    model = ir.to_proto(net.finished("features", "width")).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    parts = [session.run(None, {"image": images[first : first + ROWS]})[0] for first in range(0, len(images), ROWS)]
    return np.concatenate(parts)


def write_onnx(kernels: Sequence[np.ndarray], layers: Layers, path: Path) -> None:
    """Write a member: `image` float32 [rows, 1, 32, 32] -> `logits` float32 [rows, classes]."""
    import onnx_ir as ir

    net = Net()
    net.convolve(kernels)
    for weights, biases in layers[:-1]:
        net.add("Gemm", weights, biases)
        net.add("Relu")
    net.add("Gemm", *layers[-1])
    ir.save(net.finished("logits", layers[-1][0].shape[1]), path)
