"""Pooling a cut to features, as ONNX nodes at the end of a segment (design: export, 3).

| tensor of the cut          | features of one row                                                      |
|----------------------------|--------------------------------------------------------------------------|
| [rows, c, h, w] (or NHWC)  | means over a grid x grid raster of windows that cover h x w: c grid grid |
| [rows, c, l] of a Conv     | means over grid windows of l: c grid                                     |
| [rows, tokens, d]          | the first token and the mean of all that the mask counts: 2 d            |
| [rows, f]                  | as it is; means over neighbours where f is above 4096                    |
| any other rank             | means over all but the channel axis 1: c                                 |

Where one position with a large value is what counts, and not how many positions have one, a maximum says more than a
mean. With pool "max" a tensor with positions gives the maximum over all of them in place of the means: c or 2 d. "both"
gives the means, then the maxima. Held-out rows decide which of the two a cut gets (planning/pooling_choice.py).

Global 1 x 1 pooling is much weaker on early cuts (digits: 12 % against 91 % agreement with a 4 x 4 grid).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from exeunt.manifest import Tensor
from exeunt_export.readers.constants import append_node, constant

MAX_FEATURES = 4096  # of one cut
MEAN, MAX, BOTH = "mean", "max", "both"
_FAR = 1_000_000_000  # subtracted from tokens that do not count, so that none is the maximum
_MAX_WEIGHT_BYTES = 8 << 20  # of one ramp
_NHWC_TO_NCHW, _NCHW_TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
# fmt: off
_SPATIAL = frozenset((
    "Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "QLinearConv", "ConvInteger",
    "BatchNormalization", "InstanceNormalization", "LRN", "GlobalMaxPool", "DepthToSpace", "SpaceToDepth",
))
_ANY_LAYOUT = frozenset((
    "Relu", "Clip", "Sigmoid", "Add", "Mul", "Concat", "Sub", "Div", "LeakyRelu", "HardSwish", "HardSigmoid",
    "Elu", "Cast", "Identity", "Erf", "Tanh", "Gelu", "QuantizeLinear", "DequantizeLinear", "Pad", "Dropout",
    "Sqrt", "Exp", "Neg", "Abs", "Pow", "Max", "Min", "Where", "PRelu", "Selu", "Celu", "Softplus", "Mish",
    "Resize", "Split",
))
# fmt: on
_LOOKED_AT = 64  # nodes that the search for a layout visits


def layout_of(value: ir.Value, rank: int) -> str:
    """What the axes of a tensor mean: "channels_first", "channels_last" or "tokens".

    Found from the nearest convolution, pooling or transposition among its producers, else among its consumers.

    Args:
        value: the tensor.
        rank: its number of axes, the batch included.
    """
    layout = _known_by_producers(value, rank) or _known_by_consumers(value)
    if rank == 3 and layout is None:
        return "tokens"
    return layout or "channels_first"


def features_of(tensor: Tensor, layout: str, grid: int, pool: str = MEAN) -> int:
    """Number of features that one row of a tensor is pooled to."""
    return sum(count for part_pool, count in _parts(tensor, layout, grid) if pool in (BOTH, part_pool) or not part_pool)


def columns(tensors: Sequence[Tensor], layouts: Sequence[str], grid: int, pool: str) -> np.ndarray:
    """Which of the features of pool "both" are those of `pool`, int64, in order."""
    start, parts = 0, []
    for tensor, layout in zip(tensors, layouts, strict=True):
        for part_pool, count in _parts(tensor, layout, grid) if tensor.dtype.startswith("float") else ():
            if pool in (BOTH, part_pool) or not part_pool:
                parts.append(np.arange(start, start + count))
            start += count
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _parts(tensor: Tensor, layout: str, grid: int) -> tuple[tuple[str, int], ...]:
    """The features of pool "both" in order: to which pool they belong ("": to any), and how many they are."""
    dims = tensor.dims
    if len(dims) < 2:
        return (("", min(math.prod(dims), MAX_FEATURES)),)
    if layout == "tokens":
        return ("", dims[-1]), (MEAN, dims[-1]), (MAX, dims[-1])
    channels, spatial = _channels_and_spatial(dims, layout)
    return (MEAN, channels * math.prod(cells for _, _, cells in _windows(spatial, grid))), (MAX, channels)


def choose_grid(tensors: Sequence[Tensor], layouts: Sequence[str], classes: int, grids: Sequence[int]) -> int:
    """The finest of `grids` whose ramp stays small: at most 4096 features and 8 MiB of weights; else the coarsest."""
    for grid in sorted(grids, reverse=True):
        features = sum(features_of(tensor, layout, grid) for tensor, layout in zip(tensors, layouts, strict=True))
        if features <= MAX_FEATURES and 4 * features * classes <= _MAX_WEIGHT_BYTES:
            return grid
    return min(grids)


def append_pooling(
    graph: ir.Graph,
    values: Sequence[ir.Value],
    tensors: Sequence[Tensor],
    layouts: Sequence[str],
    grid: int,
    name: str,
    mask: ir.Value | None = None,
    pool: str = MEAN,
) -> ir.Value:
    """Append the nodes that pool the tensors of a cut and join them.

    Args:
        graph: changed in place.
        values: the cut's tensors in it; those that are no float numbers are left out.
        tensors: what one row of each is.
        layouts: from `layout_of`.
        grid: side length of the raster.
        name: of the features, and prefix of every new name.
        mask: numbers [rows, tokens], 0 where a token does not count; None where all do.
        pool: "mean", "max" or "both".

    Returns:
        the features, float32 [rows, f]; the caller makes them an output.
    """
    pooled = []
    for number, (value, tensor, layout) in enumerate(zip(values, tensors, layouts, strict=True)):
        if tensor.dtype.startswith("float"):
            pooled.append(_PoolingNodes(graph, f"{name}_{number}", pool).pool(value, tensor, layout, grid, mask))
    joined = pooled[0] if len(pooled) == 1 else _PoolingNodes(graph, name, pool).node("Concat", pooled, axis=1)
    joined.name = name
    joined.type = ir.TensorType(ir.DataType.FLOAT)
    return joined


class _PoolingNodes:
    """Appends nodes whose names start with one prefix."""

    def __init__(self, graph: ir.Graph, prefix: str, pool: str) -> None:
        self._graph = graph
        self._pool = pool
        self._prefix = prefix
        self._next_number = 0

    def node(self, op_type: str, inputs: Sequence[ir.Value], **attributes: int | Sequence[int]) -> ir.Value:
        name, value_name = f"{self._prefix}_{op_type}_{self._next_number}", f"{self._prefix}_value_{self._next_number}"
        self._next_number += 1
        return append_node(self._graph, op_type, inputs, name, value_name, attributes)

    def constant(self, numbers: Sequence[int]) -> ir.Value:
        self._next_number += 1
        return constant(np.array(numbers, np.int64), f"{self._prefix}_constant_{self._next_number}", self._graph)

    def pool(self, value: ir.Value, tensor: Tensor, layout: str, grid: int, mask: ir.Value | None) -> ir.Value:
        if tensor.dtype != "float32":
            value = self.node("Cast", [value], to=ir.DataType.FLOAT.value)
        dims = tensor.dims
        if len(dims) < 2:
            return self._flatten(value, math.prod(dims))
        if layout == "tokens":
            first = self.node("Flatten", [self.node("Slice", [value, *map(self.constant, ([0], [1], [1]))])], axis=1)
            means = [self._mean_token(value, mask)] if self._pool != MAX else []
            return self.node("Concat", [first, *means, *self._largest_token(value, mask)], axis=1)
        if layout == "channels_last":
            value = self.node("Transpose", [value], perm=[0, len(dims), *range(1, len(dims))])
        spatial = _channels_and_spatial(dims, layout)[1]
        parts = [self._window_means(value, spatial, grid)] if self._pool != MAX else []
        if self._pool != MEAN:
            parts.append(self.node("Flatten", [self.node("GlobalMaxPool", [value])], axis=1))
        return parts[0] if len(parts) == 1 else self.node("Concat", parts, axis=1)

    def _mean_token(self, value: ir.Value, mask: ir.Value | None) -> ir.Value:
        if mask is None:
            turned = self.node("Transpose", [value], perm=[0, 2, 1])
            return self.node("Flatten", [self.node("GlobalAveragePool", [turned])], axis=1)
        line = self._counts(mask)
        total = self.node("Flatten", [self.node("MatMul", [line, value])], axis=1)
        # a row without a single token gets zeros, not NaN
        least = self.node("Cast", [self.constant([1])], to=ir.DataType.FLOAT.value)
        tokens = self.node("MatMul", [line, self.node("Transpose", [line], perm=[0, 2, 1])])
        return self.node("Div", [total, self.node("Max", [self.node("Flatten", [tokens], axis=1), least])])

    def _largest_token(self, value: ir.Value, mask: ir.Value | None) -> list[ir.Value]:
        """The maximum over the tokens that count; 0 for a row without any."""
        if self._pool == MEAN:
            return []
        turned = self.node("Transpose", [value], perm=[0, 2, 1])
        if mask is None:
            return [self.node("Flatten", [self.node("GlobalMaxPool", [turned])], axis=1)]
        line = self._counts(mask)
        one = self.node("Cast", [self.constant([1])], to=ir.DataType.FLOAT.value)
        far = self.node("Cast", [self.constant([_FAR])], to=ir.DataType.FLOAT.value)
        away = self.node("Mul", [self.node("Sub", [line, one]), far])  # 0 for tokens that count
        largest = self.node("Flatten", [self.node("GlobalMaxPool", [self.node("Add", [turned, away])])], axis=1)
        any_token = self.node("Flatten", [self.node("GlobalMaxPool", [line])], axis=1)
        return [self.node("Mul", [largest, any_token])]

    def _counts(self, mask: ir.Value) -> ir.Value:
        """1 for tokens that count, 0 for the others; float32 [rows, 1, tokens]."""
        counts = self.node("Cast", [self.node("Cast", [mask], to=ir.DataType.BOOL.value)], to=ir.DataType.FLOAT.value)
        return self.node("Reshape", [counts, self.constant([0, 1, -1])])

    def _window_means(self, value: ir.Value, spatial: Sequence[int], grid: int) -> ir.Value:
        windows = _windows(spatial, grid)
        if all(cells == 1 for _, _, cells in windows):
            return self.node("Flatten", [self.node("GlobalAveragePool", [value])], axis=1)
        kernel, stride = [window[0] for window in windows], [window[1] for window in windows]
        return self.node("Flatten", [self.node("AveragePool", [value], kernel_shape=kernel, strides=stride)], axis=1)

    def _flatten(self, value: ir.Value, features: int) -> ir.Value:
        if features <= MAX_FEATURES:
            return self.node("Flatten", [value], axis=1)
        line = self.node("Reshape", [value, self.constant([-1, 1, features])])
        return self._window_means(line, [features], MAX_FEATURES)


def _windows(spatial: Sequence[int], grid: int) -> list[tuple[int, int, int]]:
    """(kernel, stride, cells) per axis: windows that cover it all; overlapping where its length is no multiple."""
    if any(length < 1 for length in spatial) or len(spatial) > 2:
        return [(1, 1, 1)] * len(spatial)  # free lengths: global means
    axes = [(length, length // min(grid, length), min(grid, length)) for length in spatial]
    return [(length - (cells - 1) * stride, stride, cells) for length, stride, cells in axes]


def _channels_and_spatial(dims: Sequence[int], layout: str) -> tuple[int, Sequence[int]]:
    return (dims[-1], dims[:-1]) if layout == "channels_last" else (dims[0], dims[1:])


def _mixes_last_axis(node: ir.Node) -> bool:
    """A layer norm over the last axis, or a product with weights: what they mix are channels."""
    if node.op_type == "LayerNormalization":
        return "axis" not in node.attributes or node.attributes["axis"].as_int() in (-1, 3)
    weights = node.inputs[1] if node.op_type == "MatMul" else None
    return weights is not None and weights.is_initializer()


def _known_by_producers(value: ir.Value, rank: int) -> str | None:
    front, looked_at = [value], 0
    while front and looked_at < _LOOKED_AT:
        node = front.pop(0).producer()
        looked_at += 1
        if node is None:
            continue
        if node.op_type in _SPATIAL:
            return "channels_first"
        if node.op_type == "Transpose":
            perm = _perm(node)
            return "channels_last" if perm == _NCHW_TO_NHWC else "channels_first" if perm == _NHWC_TO_NCHW else None
        if rank == 4 and _mixes_last_axis(node):
            return "channels_last"
        if node.op_type in _ANY_LAYOUT:
            front += [input_ for input_ in node.inputs if input_ is not None and not input_.is_initializer()]
    return None


def _known_by_consumers(value: ir.Value) -> str | None:
    front, looked_at = [value], 0
    while front and looked_at < _LOOKED_AT:
        for node in front.pop(0).consumers():
            looked_at += 1
            if node.op_type in _SPATIAL:
                return "channels_first"
            if node.op_type == "Transpose" and _perm(node) == _NHWC_TO_NCHW:
                return "channels_last"
            if node.op_type in _ANY_LAYOUT:
                front += list(node.outputs)
    return None


def _perm(node: ir.Node) -> tuple[int, ...]:
    attribute = node.attributes.get("perm")
    return tuple(attribute.as_ints()) if attribute is not None else ()
