"""Splitting a member at its cuts: each segment an ONNX model, run in order they equal the member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from exeunt.contract import FEATURES, PROBABILITIES
from exeunt.errors import ServingError
from exeunt.manifest import Tensor
from exeunt_export.cutting import pooling
from exeunt_export.cutting.cuts import Boundary
from exeunt_export.readers import floats, integers, token_mask
from exeunt_export.readers.constants import append_node
from exeunt_export.readers.graph import MemberGraph
from exeunt_export.readers.scores import rename


@dataclass(frozen=True, slots=True)
class Cut:
    """A boundary that was chosen, and how its ramp pools it.

    Attributes:
        boundary: the place; its tensors carry the names of the member's own graph.
        layouts: meaning of each tensor's axes, from `pooling.layout_of`.
        grid: side length of the pooling grid; 0 where nothing is pooled.
        pooled: what the ramp sees of each tensor: integers of a known scale as float32; empty where nothing is pooled.
        own_exit: name of the member's own exit here, probabilities that take the place of a trained ramp; "" for none.
        classes: of its own exit.
        mask: public input that says which tokens count; "" where there is none.
        pool: "mean", "max" or "both".
    """

    boundary: Boundary
    layouts: tuple[str, ...]
    grid: int
    pooled: tuple[Tensor, ...] = ()
    own_exit: str = ""
    classes: int = 0
    mask: str = ""
    pool: str = pooling.MEAN

    @property
    def features(self) -> int:
        """Number of features of one row; those of an own exit are its probabilities."""
        if self.own_exit:
            return self.classes
        pairs = zip(self.pooled, self.layouts, strict=True)
        floats_ = [(t, layout) for t, layout in pairs if t.dtype.startswith("float")]
        return sum(pooling.features_of(t, layout, self.grid, self.pool) for t, layout in floats_)

    def columns(self, pool: str) -> np.ndarray:
        """Which features of the cut with pool "both" are those of it with `pool`, int64, in order."""
        return pooling.columns(self.pooled, self.layouts, self.grid, pool)


@dataclass(frozen=True, slots=True)
class SegmentGraph:
    """One segment before it has a name and a price.

    Attributes:
        model: its graph.
        inputs: public inputs and cut tensors that it takes.
        outputs: the cut tensors that it makes; of the last piece PROBABILITIES.
        features: the pooled cut; None for the last piece.
    """

    model: ir.Model
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    features: Tensor | None


@dataclass(frozen=True, slots=True)
class Split:
    """A member in pieces.

    Attributes:
        pieces: in order; one more than there are cuts.
        reference: the unsplit member with every cut tensor as a further output, to verify against.
    """

    pieces: tuple[SegmentGraph, ...]
    reference: ir.Model


def make_cut(member: MemberGraph, boundary: Boundary, classes: int, grids: Sequence[int]) -> Cut:
    """A cut at `boundary` with the finest grid of `grids` whose ramp stays small."""
    values = ir.convenience.create_value_mapping(member.model.graph, include_subgraphs=False)
    layouts = tuple(pooling.layout_of(values[t.name], len(t.dims) + 1) for t in boundary.tensors)
    pooled = tuple(
        floats.crossing_tensor(integers.pooled_tensor(values[tensor_.name], tensor_)) for tensor_ in boundary.tensors
    )
    grid = pooling.choose_grid(pooled, layouts, classes, grids)
    pairs = zip(pooled, layouts, strict=True)
    tokens = next((tensor.dims[0] for tensor, layout in pairs if layout == "tokens" and len(tensor.dims) == 2), None)
    mask = "" if tokens is None else token_mask.mask_of(member, tokens)
    return Cut(boundary, layouts, grid, pooled, mask=mask)


def split(member: MemberGraph, cuts: Sequence[Cut]) -> Split:
    """Split a member.

    Cut tensors are renamed CUT<depth>_<number>, after the first cut that they belong to. A segment that needs a tensor
    from before the last cut takes it from the segment that made it. Each segment that ends at a cut also gives
    FEATURES.
    """
    model = member.model.clone()
    graph = model.graph
    tensors = _rename_cut_tensors(model, cuts)
    values = ir.convenience.create_value_mapping(graph, include_subgraphs=False)
    names: set[str] = set()
    pieces: list[SegmentGraph] = []
    tensor_by_name = {tensor.name: tensor for tensor in (*member.inputs, *(cut_ for cut in tensors for cut_ in cut))}
    before: tuple[Tensor, ...] = ()
    for cut, live in zip(cuts, tensors, strict=True):
        new = tuple(tensor_ for tensor_ in live if tensor_.name not in names)
        names.update(tensor_.name for tensor_ in new)
        name = f"{FEATURES}_{len(pieces) + 1}"
        if cut.own_exit:
            features = _own_features(graph, values[cut.own_exit], name)
        else:
            ramp_values = [
                integers.dequantise(graph, values[tensor_.name], tensor_, f"{name}_floats_{number}")
                for number, tensor_ in enumerate(live)
            ]
            features = pooling.append_pooling(
                graph, ramp_values, cut.pooled, cut.layouts, cut.grid, name, values.get(cut.mask), cut.pool
            )
        pieces.append(_piece(model, before, new, features, cut.features, tensor_by_name))
        before = live
    last = (Tensor(PROBABILITIES, "float32", (member.classes,)),)
    pieces.append(_piece(model, before, last, None, 0, tensor_by_name))
    return Split(tuple(pieces), _reference(model, sorted(names)))


def _own_features(graph: ir.Graph, exit_: ir.Value, name: str) -> ir.Value:
    features = append_node(graph, "Identity", [exit_], name, name)
    features.type = ir.TensorType(ir.DataType.FLOAT)
    return features


def _rename_cut_tensors(model: ir.Model, cuts: Sequence[Cut]) -> list[tuple[Tensor, ...]]:
    values = ir.convenience.create_value_mapping(model.graph, include_subgraphs=False)
    names: dict[str, str] = {}
    cut_tensors = []
    for depth, cut in enumerate(cuts, start=1):
        new = [tensor.name for tensor in cut.boundary.tensors if tensor.name not in names]
        names.update({name: f"CUT{depth}_{number}" for number, name in enumerate(new)})
        crossing = [floats.crossing_tensor(tensor) for tensor in cut.boundary.tensors]
        cut_tensors.append(tuple(Tensor(names[tensor_.name], tensor_.dtype, tensor_.dims) for tensor_ in crossing))
    for old, new_name in names.items():
        rename(model, values[old], new_name)
        floats.widen_crossing(model.graph, values[old])
    return cut_tensors


def _piece(
    model: ir.Model,
    before: Sequence[Tensor],
    new: Sequence[Tensor],
    features: ir.Value | None,
    width: int,
    tensors: dict[str, Tensor],
) -> SegmentGraph:
    """The part of the graph between the tensors of one cut and those of the next."""
    starts = [value.name or "" for value in model.graph.inputs] + [tensor.name for tensor in before]
    ends = [tensor.name for tensor in new] + ([features.name or ""] if features is not None else [])
    try:
        graph = ir.convenience.extract(model.graph, starts, ends)
    except ValueError as error:  # a cut that does not separate: ours, not the operator's
        raise ServingError(f"cutting before {ends}: {error}") from error
    unused = [value for value in graph.inputs if not value.uses() and value not in graph.outputs]
    for value in unused:
        graph.inputs.remove(value)
    tensors_here = tensors | {tensor.name: tensor for tensor in new}
    for value in (*graph.inputs, *graph.outputs):  # Triton's backend compares types and shapes with config.pbtxt
        if (tensor := tensors_here.get(value.name or "")) is not None:
            value.type = ir.TensorType(ir.DataType.from_numpy(np.dtype(tensor.dtype)))
            value.shape = ir.Shape(["rows", *(d if d >= 0 else None for d in tensor.dims)])
    if features is not None:
        graph.outputs[-1].name = FEATURES
        graph.outputs[-1].shape = ir.Shape(["rows", width])
    part = ir.Model(graph, ir_version=model.ir_version, producer_name="exeunt")
    inputs = tuple(tensors[value.name or ""] for value in graph.inputs)
    return SegmentGraph(
        part, inputs, tuple(new), Tensor(FEATURES, "float32", (width,)) if features is not None else None
    )


def _reference(model: ir.Model, cut_tensors: Sequence[str]) -> ir.Model:
    starts = [value.name or "" for value in model.graph.inputs]
    graph = ir.convenience.extract(model.graph, starts, [PROBABILITIES, *cut_tensors])
    return ir.Model(graph, ir_version=model.ir_version, producer_name="exeunt")
