"""The time of every node of a graph, and the shapes and types that it makes, from one node profile of onnxruntime.

The profile runs with graph optimisation off, so that the nodes timed are the nodes of the file. Without fusions these
times are only good as *shares* of the whole, which is timed optimised; segments are timed again once they are cut.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from exeunt.bag_parts import first_rows
from exeunt.manifest import Tensor
from exeunt_export import counting, onnxfiles
from exeunt_export.counting import COUNTED, MEASURED

_RUNS = 7  # of the profile; the median counts
_TIMING_BUDGET_S = 0.1
_ROUNDS = 3  # of the whole; the lowest median counts, since other work on the machine only adds
_EVENT = "_kernel_time"
_DTYPES = {"float": "float32", "double": "float64", "float16": "float16"}


@dataclass(frozen=True, slots=True)
class NodeCosts:
    """Measured once per member at batch 1.

    Attributes:
        share: node name -> its share of the graph's time; sums to 1.
        tensors: value name -> what one row of it is; only values whose first dimension is the batch.
        total_us: median time of the optimised graph.
    """

    share: dict[str, float]
    tensors: dict[str, Tensor]
    total_us: float


def measure(model: ir.Model, rows: Mapping[str, np.ndarray], where: str, times: str = MEASURED) -> NodeCosts:
    """Profile a graph.

    Args:
        model: nodes named uniquely.
        rows: public input -> at least one real row, [rows, ...]; repeated to 3 where there are fewer.
        where: for messages.
        times: "measured", or "counted" from the shapes (see `counting`).
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnxfiles.save(model, path)
        one, three = (first_rows(rows, count) for count in (1, 3))
        counted = times == COUNTED
        events = [_profile(path, one, 1 if counted else _RUNS, where), _profile(path, three, 1, where)]
        cost = _counted_us(model, events[0]) if counted else _medians(model, events[0])
        whole = sum(cost.values())
        total_us = whole if counted else _whole_us(path, one, where)
    share = {name: us / (whole or 1.0) for name, us in cost.items()}
    return NodeCosts(share, _tensors(model, events), total_us)


def row_bytes(tensor: Tensor) -> int:
    """Size of one row of a tensor, free dimensions at their measured length or 1."""
    return math.prod(map(abs, tensor.dims)) * np.dtype(tensor.dtype).itemsize


def _whole_us(path: Path, feeds: Mapping[str, np.ndarray], where: str) -> float:
    session = onnxfiles.open_session(path)
    return min(onnxfiles.median_us(session, feeds, _TIMING_BUDGET_S, where) for _ in range(_ROUNDS))


def _medians(model: ir.Model, events: list[dict[str, Any]]) -> dict[str, float]:
    """Node name -> median time of its runs."""
    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        times[event["name"]].append(float(event["dur"]))
    return {node.name or "": float(np.median(times.get(node.name or "", [0.0]))) for node in model.graph}


def _counted_us(model: ir.Model, events: list[dict[str, Any]]) -> dict[str, float]:
    """Node name -> counted time of one run."""
    shapes = {event["name"]: event["args"] for event in events}
    cost = {}
    for node in model.graph:
        run = shapes.get(node.name or "", {})
        ends = [[next(iter(s.values())) for s in run.get(f"{end}_type_shape", ())] for end in ("input", "output")]
        cost[node.name or ""] = counting.node_us(node, *ends)
    return cost


def _profile(path: Path, feeds: Mapping[str, np.ndarray], runs: int, where: str) -> list[dict[str, Any]]:
    session = onnxfiles.open_session(path, profile_prefix=str(path.with_suffix("")))
    for _ in range(runs):
        onnxfiles.run(session, feeds, where)
    table = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    events = [event_ for event_ in table if event_.get("cat") == "Node" and event_["name"].endswith(_EVENT)]
    return [{**event, "name": event["name"].removesuffix(_EVENT)} for event in events]


def _tensors(model: ir.Model, events: list[list[dict[str, Any]]]) -> dict[str, Tensor]:
    """Values that have the batch as first dimension, by their shapes at 1 and at 3 rows."""
    one, three = ({event["name"]: event["args"]["output_type_shape"] for event in event_} for event_ in events)
    tensors = {}
    for node in model.graph:
        values = [value for value in node.outputs if value.name]
        shapes = zip(values, one.get(node.name or "", ()), three.get(node.name or "", ()), strict=False)
        for value, at_one, at_three in shapes:
            (kind, small), large = next(iter(at_one.items())), next(iter(at_three.values()))
            if small and large and (small[0], large[0]) == (1, 3) and small[1:] == large[1:]:
                dims = _free_where_symbolic(value, tuple(small[1:]))
                tensors[value.name or ""] = Tensor(value.name or "", _dtype(value, kind), dims)
    return tensors


def _dtype(value: ir.Value, measured: str) -> str:
    """The type that the file tells, else the measured one: the CPU runs float16 nodes in float32."""
    if value.dtype in (ir.DataType.FLOAT16, ir.DataType.FLOAT):
        return str(value.dtype.numpy())
    return _DTYPES.get(measured, measured)


def _free_where_symbolic(value: ir.Value, dims: tuple[int, ...]) -> tuple[int, ...]:
    """The measured dims, -1 where the file says that they vary beyond the batch."""
    shape = value.shape
    if shape is None or len(shape) != len(dims) + 1:
        return dims
    batch = shape[0]
    return tuple(
        -1 if not isinstance(size, int) and size.value is not None and size != batch else measured
        for size, measured in zip(shape[1:], dims, strict=True)
    )
