"""Where a member can be cut: the live tensors between every two neighbouring nodes, in O(V + E) (design: export, 1).

The nodes stand in a lazy order: a node is placed only when something needs it, deepest input first, since early side
branches widen the cuts. The boundary after node i then needs exactly the *live* tensors, made at or before i and used
after it. Not counted are initializers, graph inputs, and everything computable from constants, from shapes of graph
inputs, or from integer inputs by elementwise operations (attention masks): a later segment takes or makes them itself.
Names that the bodies of If, Loop and Scan capture count as uses by their node.

No cut comes directly behind a DequantizeLinear: its readers take the integers before it, and each segment dequantises
them again. So a residual that shares its integers with the branch beside it is one tensor, and no group of integer
operators is torn.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from exeunt.manifest import Tensor
from exeunt_export.nodecosts import NodeCosts
from exeunt_export.readers import floats, integers
from exeunt_export.readers.graph import MemberGraph

_SHAPE_OPS = frozenset({"Shape", "Size"})
# operators that turn an attention mask into what layers add: a later segment repeats them more cheaply than it copies
# fmt: off
_MASK_OPS = frozenset((
    "Cast", "Sub", "Add", "Mul", "Div", "Neg", "Not", "Equal", "Less", "Greater", "LessOrEqual",
    "GreaterOrEqual", "And", "Or", "Where", "Unsqueeze", "Squeeze", "Expand", "Reshape", "Slice", "Concat",
    "Range", "ConstantOfShape", "Identity", "Flatten", "Trilu", "CumSum", "Max", "Min", "Mod", "Tile", "Transpose",
    "ReduceSum", "ReduceMax", "ArgMax", "QuantizeLinear", "DequantizeLinear",
))
# fmt: on
_INDEXED = frozenset(("Gather", "GatherND", "GatherElements"))  # cheap on a mask; on a table of weights an embedding
_POOLED = ("float32", "float16", "float64")
_CARRIED = (*_POOLED, "int64", "int32", "int16", "uint16", "int8", "uint8", "bool")
_LEAST_SHARE = 0.02  # a cut with less work than this before or after it saves no time
_BODIES = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
_TOO_LATE = "nothing learnt comes after it"
_MOST_LISTED = 8  # tensors of a boundary beyond this many are counted, not listed


@dataclass(frozen=True, slots=True)
class Boundary:
    """A place between two nodes.

    Attributes:
        after: name of the last value made before it.
        op_type: operator that made it.
        width: how many tensors are live.
        tensors: what they are, in the order they were made; empty where `usable` is not "".
        bytes_per_row: their size for one row.
        share: share of the member's time before it, 0..1.
        usable: "" or why it cannot be a cut.
        readers: nodes after it that read the tensor that most of them read; 1 where there are too many to list.
    """

    after: str
    op_type: str
    width: int
    tensors: tuple[Tensor, ...]
    bytes_per_row: int
    share: float
    usable: str
    readers: int = 1


def boundaries(member: MemberGraph, costs: NodeCosts) -> list[Boundary]:
    """Every boundary of a member, in lazy order, from the first node to the last."""
    graph = member.model.graph
    free = _free_values(graph)
    order = lazy_order(graph, free)
    uses = _use_counts(graph, order, free)
    live: dict[ir.Value, None] = {}
    bytes_per_row, share = 0, 0.0
    places = []
    learnt = max((number for number, node in enumerate(order) if _may_be_learnt(graph, node, free)), default=len(order))
    counted: set[ir.Node] = set()
    for number, node in enumerate(order):
        for reader in integers.dequantisers(node) - counted:
            counted.add(reader)
            share += costs.share.get(reader.name or "", 0.0)
        for value in _values_read(graph, node):
            if value in live:
                uses[value] -= 1
                if not uses[value]:
                    del live[value]
                    bytes_per_row -= _bytes(value, costs)
        for value in node.outputs:
            if uses.get(value, 0):
                live[value] = None
                bytes_per_row += _bytes(value, costs)
        share += costs.share.get(node.name or "", 0.0)
        place = _boundary(node, live, uses, bytes_per_row, share, costs)
        places.append(place if number < learnt or place.usable else replace(place, tensors=(), usable=_TOO_LATE))
    return places[:-1]


def candidates(places: list[Boundary], max_width: int) -> list[Boundary]:
    """The boundaries that may be cuts: usable, at most `max_width` wide, with work before and after them."""
    return [
        boundary
        for boundary in places
        if not boundary.usable and boundary.width <= max_width and _LEAST_SHARE <= boundary.share <= 1 - _LEAST_SHARE
    ]


def lazy_order(graph: ir.Graph, free: set[ir.Value]) -> list[ir.Node]:
    """Nodes that the outputs need, each as late as possible, the deepest input's nodes first; without free nodes."""
    depth: dict[ir.Value, int] = {}
    for node in graph:
        below = 1 + max((depth.get(value, 0) for value in _values_read(graph, node)), default=0)
        depth.update(dict.fromkeys(node.outputs, below))
    order: list[ir.Node] = []
    placed: set[ir.Node] = set()

    def visit(node: ir.Node) -> Iterator[ir.Node]:
        inputs = [value for value in _values_read(graph, node) if value not in free]
        for value in sorted(inputs, key=lambda item: -depth.get(item, 0)):
            producer = value.producer()
            if producer is not None and producer not in placed:
                yield producer
        if node not in placed:
            placed.add(node)
            order.append(node)

    for output in graph.outputs:
        stack = [visit(producer)] if (producer := output.producer()) is not None else []
        while stack:
            producer = next(stack[-1], None)
            if producer is None:
                stack.pop()
            elif producer not in placed:
                stack.append(visit(producer))
    return order


def _free_values(graph: ir.Graph) -> set[ir.Value]:
    """Values that a later segment can have without a cut tensor."""
    free = set(graph.initializers.values()) | set(graph.inputs)
    masks = {value for value in graph.inputs if value.dtype is not None and value.dtype.is_integer()}
    constant = set(graph.initializers.values())
    for node in graph:
        needs = _values_read(graph, node)
        from_constants = all(value in constant for value in needs)
        from_shapes = node.op_type in _SHAPE_OPS and all(value in free for value in needs)
        cheap = node.op_type in _MASK_OPS or (node.op_type in _INDEXED and node.inputs[0] in masks)
        from_masks = cheap and all(value in constant or value in masks for value in needs)
        if from_constants or from_shapes:
            constant.update(node.outputs)
        elif from_masks:
            masks.update(node.outputs)
        if from_constants or from_shapes or from_masks:
            free.update(node.outputs)
    return free


def _values_read(graph: ir.Graph, node: ir.Node) -> list[ir.Value]:
    """Distinct values of `graph` that a node reads, those that its bodies capture included."""
    values = {integers.integers_behind(value): None for value in node.inputs if value is not None}
    for attribute in node.attributes.values():
        bodies: list[ir.Graph] = []
        if attribute.type == ir.AttributeType.GRAPH:
            bodies = [attribute.as_graph()]
        elif attribute.type == ir.AttributeType.GRAPHS:
            bodies = list(attribute.as_graphs())
        for body in bodies:
            for inner in ir.traversal.RecursiveGraphIterator(body):
                values.update({v: None for v in inner.inputs if v is not None and v.graph is graph})
            values.update({v: None for v in body.outputs if v.graph is graph})
    return list(values)


def _may_be_learnt(graph: ir.Graph, node: ir.Node, free: set[ir.Value]) -> bool:
    """Whether a node may hold what was learnt: it reads constants of many numbers, is a tree, or has bodies."""
    if node.domain.startswith("ai.onnx.ml") or any(attribute.type in _BODIES for attribute in node.attributes.values()):
        return True
    front, visited_values = [need for need in _values_read(graph, node) if need in free], set[ir.Value]()
    while front:  # up to the constants that it is made of
        value = front.pop()
        visited_values.add(value)
        if value.const_value is not None:
            if value.const_value.size > 1 and _may_be_weights(value.const_value.dtype):
                return True
        elif (producer := value.producer()) is not None:
            front += [input_ for input_ in producer.inputs if input_ is not None and input_ not in visited_values]
    return False


def _may_be_weights(dtype: ir.DataType) -> bool:
    return dtype.is_floating_point() or (dtype.bitwidth <= 8 and dtype != ir.DataType.BOOL)


def _use_counts(graph: ir.Graph, order: list[ir.Node], free: set[ir.Value]) -> dict[ir.Value, int]:
    """How many nodes of the order read each value that counts; an output of the graph is never used up."""
    uses = Counter(value for node in order for value in _values_read(graph, node) if value not in free)
    uses.update(graph.outputs)
    return uses


def _bytes(value: ir.Value, costs: NodeCosts) -> int:
    tensor = costs.tensors.get(value.name or "")
    if tensor is None:
        return 0
    return math.prod(map(abs, tensor.dims)) * np.dtype(floats.crossing_tensor(tensor).dtype).itemsize


def _boundary(
    node: ir.Node,
    live: dict[ir.Value, None],
    uses: dict[ir.Value, int],
    bytes_per_row: int,
    share: float,
    costs: NodeCosts,
) -> Boundary:
    tensors: tuple[Tensor, ...] = ()
    usable, readers = "", 1
    unknown = [value.name for value in live if value.name not in costs.tensors] if len(live) <= _MOST_LISTED else []
    if len(live) > _MOST_LISTED:
        usable = "too wide"
    elif unknown:
        usable = f"{unknown[0]} has no batch dimension"
    else:
        tensors = tuple(costs.tensors[value.name or ""] for value in live)
        readers = max((uses[value] for value in live), default=1)
        if any(tensor.dtype not in _CARRIED or not tensor.dims for tensor in tensors):
            usable = "a tensor's type cannot be carried between models"
        elif not any(
            integers.pooled_tensor(value, tensor).dtype in _POOLED for value, tensor in zip(live, tensors, strict=True)
        ):
            usable = "nothing to pool"
        elif any(integers.tears_a_group(value) for value in live):
            usable = "inside a quantised operator"
    return Boundary(node.outputs[0].name or "", node.op_type, len(live), tensors, bytes_per_row, share, usable, readers)
