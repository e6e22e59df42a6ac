"""What ramps cost: pooling and heads timed as models of their own, before anything is cut or trained."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from exeunt.contract import FEATURES
from exeunt.deciding.heads import Head
from exeunt.manifest import Tensor
from exeunt_export import counting, onnxfiles
from exeunt_export.counting import COUNTED, MEASURED
from exeunt_export.cutting import pooling
from exeunt_export.cutting.split import Cut
from exeunt_export.onnxfiles import IR_VERSION, OPSET
from exeunt_export.ramps.heads import build_heads

_TIMING_BUDGET_S = 0.01
_ROUNDS = 3  # the lowest median counts: other work on the machine only adds
_FREE_LENGTH = 32  # stands for a dimension that the model leaves free


class RampPrices:
    """Costs of pooling and heads at batch 1, each measured once on this machine; or counted."""

    def __init__(self, classes: int, times: str = MEASURED) -> None:
        self._classes, self._counted = classes, times == COUNTED
        self._pooling: dict[Cut, float] = {}
        self._heads: dict[tuple[int, ...], float] = {}
        # starting any graph costs something, and pooling runs inside a segment that has been started already
        one = (Tensor("x", "float32", (1,)),)
        self._start_us = (
            0.0 if self._counted else _median_us(_pooling_model(one, ("",), 1, pooling.MEAN), [(1,)], ["float32"])
        )

    def pooling_us(self, cut: Cut) -> float:
        """Time that pooling adds to the segment that ends at a cut."""
        if self._counted:
            return counting.operations_us(sum(math.prod(map(abs, tensor.dims)) for tensor in cut.pooled))
        if cut not in self._pooling:
            tensors = cut.pooled
            model = _pooling_model(tensors, cut.layouts, cut.grid, cut.pool)
            shapes = [tuple(d if d >= 0 else _FREE_LENGTH for d in tensor.dims) for tensor in tensors]
            us = _median_us(model, shapes, [tensor.dtype for tensor in tensors])
            self._pooling[cut] = max(us - self._start_us, 0.0)
        return self._pooling[cut]

    def heads_us(self, cuts: Sequence[Cut]) -> float:
        """Time of one run of an exit's heads."""
        widths = tuple(cut.features for cut in cuts)
        if self._counted:
            return counting.heads_us(widths, self._classes)
        if widths not in self._heads:
            blank = {
                (str(number), 1): Head(np.zeros((f, self._classes), np.float32), np.zeros(self._classes, np.float32))
                for number, f in enumerate(widths)
            }
            us = _median_us(build_heads("heads", blank), [(f,) for f in widths], ["float32"] * len(widths))
            self._heads[widths] = us
        return self._heads[widths]


def _pooling_model(tensors: Sequence[Tensor], layouts: Sequence[str], grid: int, pool: str) -> ir.Model:
    inputs = [
        ir.Value(
            name=f"tensor_{number}",
            type=ir.TensorType(ir.DataType.from_numpy(np.dtype(tensor.dtype))),
            shape=ir.Shape(["rows", *(d if d >= 0 else None for d in tensor.dims)]),
        )
        for number, tensor in enumerate(tensors)
    ]
    graph = ir.Graph(inputs, [], nodes=[], opset_imports={"": OPSET}, name="pooling")
    graph.outputs.append(pooling.append_pooling(graph, inputs, tensors, layouts, grid, FEATURES, pool=pool))
    return ir.Model(graph, ir_version=IR_VERSION)


def _median_us(model: ir.Model, dims: Sequence[tuple[int, ...]], dtypes: Sequence[str]) -> float:
    session = onnxfiles.open_in_memory(model, "ramp")
    rng = np.random.default_rng(0)
    names = [value.name or "" for value in model.graph.inputs]
    feeds = {name: rng.random((1, *dim)).astype(dtype) for name, dim, dtype in zip(names, dims, dtypes, strict=True)}
    return min(onnxfiles.median_us(session, feeds, _TIMING_BUDGET_S, "ramp") for _ in range(_ROUNDS))
