"""Random classifiers as ONNX graphs: wherever they may be cut, at any cuts, the segments are the member again."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.manifest import Tensor
from exeunt_export import nodecosts, onnxfiles
from exeunt_export.cutting.chain import Chain
from exeunt_export.cutting.cuts import boundaries
from exeunt_export.cutting.split import make_cut, split
from exeunt_export.cutting.verify import verify
from exeunt_export.nodecosts import NodeCosts
from exeunt_export.readers.graph import MemberGraph, load_member
from tests.export.graphs import Net

SIZE, CLASSES = 4, 3
ROWS = {f"in{n}": np.random.default_rng(n).normal(size=(8, SIZE)).astype(np.float32) for n in range(3)}


@st.composite
def nets(draw: st.DrawFn) -> Net:
    """A DAG over one to three inputs: branches, skips of any length, shared weights, several outputs, If, Loop, ends.

    Every value is [rows, 4], so that anything may be joined with anything.
    """
    net = Net(draw(st.integers(0, 99)), ("rows", SIZE), "in0")
    for number in range(1, draw(st.integers(1, 3))):
        value = ir.Value(name=f"in{number}", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["rows", SIZE]))
        net.graph.inputs.append(value)
    shared = net.weight(SIZE, SIZE)
    values = list(net.graph.inputs)
    for _ in range(draw(st.integers(3, 14))):
        one, two = (values[draw(st.integers(0, len(values) - 1))] for _ in range(2))
        kind = draw(st.sampled_from(("shared", "own", "add", "mul", "concat", "split", "tanh", "if", "loop")))
        values += _made(net, kind, one, two, shared)
    joined = values[draw(st.integers(0, len(values) - 1))]
    for item in draw(st.lists(st.sampled_from(values), max_size=3)):
        joined = net.node("Add", joined, item)
    net.graph.outputs.append(net.node("MatMul", net.node("Tanh", joined), net.weight(SIZE, CLASSES)))
    return net


def _made(net: Net, kind: str, one: ir.Value, two: ir.Value, shared: ir.Value) -> list[ir.Value]:
    if kind in ("shared", "own"):
        weight = shared if kind == "shared" else net.weight(SIZE, SIZE)
        return [net.node("Tanh", net.node("MatMul", one, weight))]
    if kind == "concat":
        return [net.node("MatMul", net.node("Concat", one, two, axis=1), net.weight(2 * SIZE, SIZE))]
    if kind == "split":
        halves = ir.node("Split", [one], attributes={"axis": 1, "num_outputs": 2}, num_outputs=2)
        for number, half in enumerate(halves.outputs):
            half.name = f"half_{len(list(net.graph))}_{number}"
        net.graph.append(halves)
        return [net.node("Concat", halves.outputs[1], halves.outputs[0], axis=1)]
    if kind == "if":
        return [_either(net, one, two)]
    if kind == "loop":
        return [_repeated(net, one, two)]
    if kind == "tanh":
        return [net.node("Tanh", one)]
    return [net.node("Add" if kind == "add" else "Mul", one, two)]


def _either(net: Net, one: ir.Value, two: ir.Value) -> ir.Value:
    """An If whose bodies capture values around them; its condition is a constant, since rows are on their own."""
    number = len(list(net.graph))
    bodies = []
    for op_type, captured in (("Neg", one), ("Abs", two)):
        node = ir.node(op_type, [captured])
        node.outputs[0].name, node.outputs[0].type = f"{op_type}_{number}", ir.TensorType(ir.DataType.FLOAT)
        bodies.append(ir.Graph([], [node.outputs[0]], nodes=[node], name=f"{op_type}_{number}_body"))
    flag = net.constant(np.array(number % 2 == 0))
    return net.node("If", flag, then_branch=bodies[0], else_branch=bodies[1])


def _repeated(net: Net, one: ir.Value, two: ir.Value) -> ir.Value:
    """A Loop of three turns that carries one value, tanh(carried + captured), and captures another."""
    number = len(list(net.graph))
    types = {"turn": ir.DataType.INT64, "on": ir.DataType.BOOL, "carried": ir.DataType.FLOAT}
    turn, on, carried = (ir.Value(name=f"loop_{key}_{number}", type=ir.TensorType(kind)) for key, kind in types.items())
    turn.shape, on.shape = ir.Shape([]), ir.Shape([])
    both, goes_on = ir.node("Add", [carried, two]), ir.node("Identity", [on])
    tanh = ir.node("Tanh", both.outputs)
    for key, node, kind in (("both", both, "carried"), ("goes_on", goes_on, "on"), ("tanh", tanh, "carried")):
        node.outputs[0].name, node.outputs[0].type = f"loop_{key}_{number}", ir.TensorType(types[kind])
    ends = [goes_on.outputs[0], tanh.outputs[0]]
    body = ir.Graph([turn, on, carried], ends, nodes=[both, tanh, goes_on], name=f"loop_{number}_body")
    return net.node("Loop", net.constant(np.array(3)), net.constant(np.array(True)), one, body=body)


def opened(net: Net, folder: Path) -> MemberGraph:
    path = net.save(folder / "m.onnx", *net.graph.outputs)
    names = {value.name for value in net.graph.inputs}
    return load_member("m", path, {name: item for name, item in ROWS.items() if name in names})


def costs_of(member: MemberGraph) -> NodeCosts:
    """Made up, since profiles take time: every node the same, every float value as it was built."""
    nodes = list(member.model.graph)
    tensors = {}
    for node in nodes:
        for value in node.outputs:
            size = SIZE // 2 if node.op_type == "Split" else SIZE
            size = 2 * SIZE if node.op_type == "Concat" and "half" not in (node.inputs[0].name or "") else size
            size = (
                CLASSES
                if value.name == "PROBABILITIES"
                or any(w.shape == [SIZE, CLASSES] for w in node.inputs if w is not None)
                else size
            )
            tensors[value.name or ""] = Tensor(value.name or "", "float32", (size,))
    return NodeCosts({node.name or "": 1 / len(nodes) for node in nodes}, tensors, 100.0)


@given(net=nets(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_random_graphs_reassemble_at_any_cuts(net: Net, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        member = opened(net, folder)
        places = [boundary for boundary in boundaries(member, costs_of(member)) if not boundary.usable]
        numbers = st.sets(st.integers(0, len(places) - 1), max_size=4) if places else st.just(set[int]())
        cut_numbers = sorted(data.draw(numbers, label="cuts"))
        parts = split(member, [make_cut(member, places[item], CLASSES, (1,)) for item in cut_numbers])
        files = [folder / f"s{number}.onnx" for number in range(len(parts.pieces))]
        for piece, file in zip(parts.pieces, files, strict=True):
            onnxfiles.save(piece.model, file)
        onnxfiles.save(parts.reference, folder / "reference.onnx")
        rows = {input_.name: ROWS[input_.name] for input_ in member.inputs}
        assert verify(Chain("m", files), folder / "reference.onnx", rows) <= 1e-6


@given(net=nets())
@settings(max_examples=10, deadline=None)
def test_what_a_profile_tells_is_what_was_built(net: Net) -> None:
    with tempfile.TemporaryDirectory() as name:
        member = opened(net, Path(name))
        rows = {input_.name: ROWS[input_.name] for input_ in member.inputs}
        tensors = nodecosts.measure(member.model, rows, "m").tensors
    built = costs_of(member).tensors
    assert {name: item.dims for name, item in tensors.items()} == {name: built[name].dims for name in tensors}
