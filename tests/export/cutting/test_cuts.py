from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from exeunt_export import nodecosts
from exeunt_export.counting import COUNTED
from exeunt_export.cutting.cuts import Boundary, boundaries, candidates
from exeunt_export.planning.plan import MeasuredMember
from exeunt_export.readers.graph import MemberGraph, load_member
from tests.export.graphs import Net, noise_rows, residual_net, two_cell_net

ROWS = {"IMAGE": noise_rows(8, seed=0)}


def found_in(path: Path, rows: dict[str, np.ndarray] = ROWS) -> tuple[MemberGraph, list[Boundary]]:
    member = load_member("m", path, rows)
    return member, boundaries(member, nodecosts.measure(member.model, rows, "m", COUNTED))


def widths(path: Path) -> list[int]:
    return [boundary.width for boundary in found_in(path)[1]]


def test_a_chain_has_width_one_everywhere(tmp_path: Path) -> None:
    net = Net(0)
    x = net.conv(net.conv(net.input, 1, 4), 4, 4)
    net.save(tmp_path / "m.onnx", net.logits(x, 4, 5, 16))
    assert set(widths(tmp_path / "m.onnx")) == {1}


def test_a_skip_makes_the_cut_two_wide_until_it_is_added(tmp_path: Path) -> None:
    net = Net(0)
    x = net.conv(net.input, 1, 4)
    net.save(tmp_path / "m.onnx", net.logits(net.residual(x, 4), 4, 5, 16))
    # conv relu | conv relu conv (beside the skip) | add relu flatten gemm
    assert widths(tmp_path / "m.onnx") == [1, 1, 2, 2, 2, 1, 1, 1, 1]


def test_two_cells_that_skip_one_need_width_two(tmp_path: Path) -> None:
    _, places = found_in(two_cell_net(tmp_path / "m.onnx"))
    middle = [boundary for boundary in places if 0.2 < boundary.share < 0.8]
    assert min(boundary.width for boundary in middle) == 2


def test_a_side_branch_is_placed_late(tmp_path: Path) -> None:
    net = Net(0)
    early = net.conv(net.input, 1, 4)
    side = net.conv(early, 4, 4)  # written first, needed last
    x = early
    for _ in range(4):
        x = net.conv(x, 4, 4)
    net.save(tmp_path / "m.onnx", net.logits(net.node("Add", x, side), 4, 5, 16))
    _, places = found_in(tmp_path / "m.onnx")
    assert [boundary.width for boundary in places[2:10]] == [2] * 8  # `early` and the chain, never `side` as well


def test_bytes_are_those_of_one_row(tmp_path: Path) -> None:
    _, places = found_in(residual_net(tmp_path / "m.onnx"))
    first = places[0]
    assert (first.tensors[0].dims, first.bytes_per_row) == ((8, 16, 16), 4 * 8 * 16 * 16)


def test_shares_grow_to_one(tmp_path: Path) -> None:
    _, places = found_in(residual_net(tmp_path / "m.onnx"))
    shares = [boundary.share for boundary in places]
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] <= 1


def test_an_input_that_is_used_later_does_not_widen_a_cut(tmp_path: Path) -> None:
    net = Net(0)
    x = net.conv(net.input, 1, 4)
    late = net.node("Add", x, net.input)
    net.save(tmp_path / "m.onnx", net.logits(late, 4, 5, 16))
    assert set(widths(tmp_path / "m.onnx")) == {1}


def test_what_comes_from_constants_or_input_shapes_does_not_widen_a_cut(tmp_path: Path) -> None:
    net = Net(0)
    batch = net.node("Slice", net.node("Shape", net.input), *(net.constant(np.array([n])) for n in (0, 1, 0)))
    target = net.node("Concat", batch, net.constant(np.array([-1])), axis=0)
    scale = net.node("Exp", net.weight(4, 1, 1))
    x = net.node("Mul", net.conv(net.conv(net.input, 1, 4), 4, 4), scale)
    flat = net.node("Reshape", x, target)
    net.save(tmp_path / "m.onnx", net.node("MatMul", flat, net.weight(4 * 256, 5)))
    assert max(widths(tmp_path / "m.onnx")) == 1


def if_net(path: Path) -> Path:
    """Both branches of an If read `early`, which nothing else does after it."""
    net = Net(0)
    early = net.conv(net.input, 1, 4)
    late = net.conv(early, 4, 4)
    branches = []
    for op_type in ("Abs", "Neg"):
        node = ir.node(op_type, [early])
        node.outputs[0].name, node.outputs[0].type = f"{op_type}_out", ir.TensorType(ir.DataType.FLOAT)
        branches.append(ir.Graph([], [node.outputs[0]], nodes=[node], name=op_type))
    total = net.node("ReduceSum", late, keepdims=0)
    condition = net.node("Greater", total, net.constant(np.float32(0)))
    branch = net.node("If", condition, then_branch=branches[0], else_branch=branches[1])
    return net.save(path, net.logits(net.node("Add", branch, late), 4, 5, 16))


def test_names_captured_by_a_body_stay_live(tmp_path: Path) -> None:
    member, places = found_in(if_net(tmp_path / "m.onnx"))
    before = places[[boundary.op_type for boundary in places].index("If") - 1]
    assert before.width == 3  # early, late, condition
    assert "no batch dimension" in before.usable
    assert len(candidates(places, 8)) > 0 and member.classes == 5


def test_an_attention_mask_is_made_again_where_it_is_needed(tmp_path: Path) -> None:
    net = Net(0, ("rows", 6, 5))
    mask = ir.Value(name="MASK", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(["rows", 6]))
    net.graph.inputs.append(mask)
    float_mask = net.node("Cast", net.node("Unsqueeze", mask, net.constant(np.array([2]))), to=ir.DataType.FLOAT.value)
    x = net.input
    for _ in range(3):
        x = net.node("Mul", net.node("Relu", net.node("MatMul", x, net.weight(5, 5))), float_mask)
    mean = net.node("ReduceMean", x, net.constant(np.array([1])), keepdims=0)
    net.save(tmp_path / "m.onnx", net.node("MatMul", mean, net.weight(5, 4)))
    rng = np.random.default_rng(0)
    rows = {"IMAGE": rng.normal(size=(8, 6, 5)).astype(np.float32), "MASK": rng.integers(0, 2, (8, 6))}
    _, places = found_in(tmp_path / "m.onnx", rows)
    assert {boundary.width for boundary in places} == {1}


@pytest.mark.parametrize(("max_width", "some"), [(1, False), (2, True)])
def test_candidates_keep_to_the_width(tmp_path: Path, max_width: int, some: bool) -> None:
    _, places = found_in(two_cell_net(tmp_path / "m.onnx"))
    inner = [candidate for candidate in candidates(places, max_width) if 0.2 < candidate.share < 0.8]
    assert bool(inner) is some


def test_after_the_last_weights_there_is_nothing_to_cut_for(tmp_path: Path) -> None:
    net = Net(0)
    scores = net.logits(net.conv(net.input, 1, 4), 4, 5, 16)
    _, places = found_in(net.save(tmp_path / "m.onnx", net.node("Softplus", net.node("Relu", scores))))
    assert [boundary.op_type for boundary in places if boundary.usable == "nothing learnt comes after it"] == [
        "Gemm",
        "Relu",
        "Softplus",
    ]


def test_a_mask_that_is_looked_up_is_made_again_where_it_is_needed(tmp_path: Path) -> None:
    net = Net(0, ("rows", 6, 5))
    mask = ir.Value(name="MASK", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(["rows", 6]))
    net.graph.inputs.append(mask)
    turned = net.node("Gather", mask, net.constant(np.arange(6)[::-1].copy()), axis=1)
    float_mask = net.node(
        "Cast", net.node("Unsqueeze", turned, net.constant(np.array([2]))), to=ir.DataType.FLOAT.value
    )
    x = net.input
    for _ in range(3):
        x = net.node("Mul", net.node("Relu", net.node("MatMul", x, net.weight(5, 5))), float_mask)
    mean = net.node("ReduceMean", x, net.constant(np.array([1])), keepdims=0)
    net.save(tmp_path / "m.onnx", net.node("MatMul", mean, net.weight(5, 4)))
    rng = np.random.default_rng(0)
    rows = {"IMAGE": rng.normal(size=(8, 6, 5)).astype(np.float32), "MASK": rng.integers(0, 2, (8, 6))}
    assert {boundary.width for boundary in found_in(tmp_path / "m.onnx", rows)[1]} == {1}


def test_a_size_read_off_an_inner_tensor_does_not_widen_a_cut(tmp_path: Path) -> None:
    net = Net(0)
    early = net.conv(net.input, 1, 4)
    shape = net.node("Shape", early)
    x = net.node("Reshape", net.conv(net.conv(early, 4, 4), 4, 4), shape)
    member, _ = found_in(net.save(tmp_path / "m.onnx", net.logits(x, 4, 5, 16)))
    costs = nodecosts.measure(member.model, ROWS, "m", COUNTED)
    assert {boundary.width for boundary in MeasuredMember.of(member, costs).boundaries} == {1}
