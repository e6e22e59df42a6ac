"""Times that are counted instead of measured: the same on every machine, busy or not.

A node counts its multiplications and the numbers that it makes, from the shapes that one profiled run tells. Counted
times know nothing of caches and kernels, so they place cuts less well than measured ones. They are for exports that
must come out the same each time (`[cuts] times = "counted"`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

MEASURED, COUNTED = "measured", "counted"
_OPERATIONS_PER_US = 5000.0  # of one core, about; only ratios of times matter
_RAMP_START = 500.0  # in operations: the cost of starting the heads' graph


def node_us(node: ir.Node, inputs: Sequence[Sequence[int]], outputs: Sequence[Sequence[int]]) -> float:
    """Counted time of one run of a node, microseconds.

    Args:
        node: of the graph.
        inputs: shapes of what it reads.
        outputs: shapes of what it makes.
    """
    elements = sum(map(math.prod, outputs))
    return operations_us(elements * (1 + _multiplications(node, inputs)))


def operations_us(operations: float) -> float:
    """Counted time of so many operations."""
    return operations / _OPERATIONS_PER_US


def heads_us(widths: Sequence[int], classes: int) -> float:
    """Counted time of an exit's heads: one linear layer per width."""
    return operations_us(_RAMP_START + sum(widths) * classes)


def _multiplications(node: ir.Node, inputs: Sequence[Sequence[int]]) -> int:
    """Multiplications for one number that a node makes."""
    kernel = _kernel(node)
    if len(inputs) < 2 or kernel is None or len(inputs[kernel]) < 2:
        return 0
    if "Conv" in node.op_type:
        return math.prod(inputs[kernel][1:])
    return inputs[0][-1]


def _kernel(node: ir.Node) -> int | None:
    """Place of the weights among a node's inputs; None where it multiplies nothing by them."""
    if node.op_type in ("Conv", "ConvTranspose", "ConvInteger", "Gemm", "MatMul", "MatMulInteger", "FusedMatMul"):
        return 1
    return 3 if node.op_type in ("QLinearConv", "QLinearMatMul") else None
