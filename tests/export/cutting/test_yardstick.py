"""Segments are held against how much their member differs from itself, and cuts can be placed without a clock."""

import dataclasses

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from exeunt.errors import ConfigError, ServingError
from exeunt_export import nodecosts, onnxfiles
from exeunt_export.bagfile.bagfile import Cuts
from exeunt_export.counting import COUNTED
from exeunt_export.cutting.chain import Chain
from exeunt_export.cutting.cuts import boundaries
from exeunt_export.cutting.split import make_cut, split
from exeunt_export.cutting.verify import verify
from exeunt_export.cutting.yardstick import self_difference
from exeunt_export.readers.graph import load_member
from tests.export.graphs import noise_rows, residual_net
from tests.export.readers.test_silent_faults import ROWS, base, make


def touchy(path):
    """Two ways to one large sum, subtracted: only their rounding is left, and that depends on the order of adding."""
    rng = np.random.default_rng(3)
    first, second = (rng.standard_normal(shape).astype(np.float32) for shape in ((16, 512), (512, 12)))
    weights = {"first": first, "second": second, "both": first @ second}
    weights |= {"large": np.float32([1000.0]), "last": rng.standard_normal((12, 5)).astype(np.float32)}
    nodes = [
        make.make_node("MatMul", ["x", "first"], ["a"]),
        make.make_node("MatMul", ["a", "second"], ["b"]),
        make.make_node("MatMul", ["x", "both"], ["c"]),
        make.make_node("Sub", ["b", "c"], ["d"]),
        make.make_node("Mul", ["d", "large"], ["e"]),
        make.make_node("Tanh", ["e"], ["f"]),
        make.make_node("MatMul", ["f", "last"], ["y"]),
    ]
    graph = make.make_graph(
        nodes,
        "touchy",
        [make.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 16])],
        [make.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9), path)
    return path


def in_two(member, rows, folder, changed="", by=0.0):
    """Segments of a member, a weight of the second one changed by a share of itself; and the unsplit member."""
    places = [b for b in boundaries(member, nodecosts.measure(member.model, rows, "m", COUNTED)) if not b.usable]
    parts = split(member, [make_cut(member, places[0], member.classes, (1,))])
    files = [folder / f"s{number}.onnx" for number in range(2)]
    if changed:
        weight = parts.pieces[1].model.graph.initializers[changed]
        weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(1 + by), name=weight.name)
    for piece, file in zip(parts.pieces, files, strict=True):
        onnxfiles.save(piece.model, file)
    onnxfiles.save(parts.reference, folder / "whole.onnx")
    return Chain("m", files), folder / "whole.onnx"


def own(reference, rows):
    feeds = [{name: row[:7] for name, row in rows.items()}]
    whole = [onnxfiles.run(onnxfiles.open_session(reference), fed, "m") for fed in feeds]
    return self_difference(reference, feeds, whole)


def test_a_member_that_64_bits_change_differs_from_itself(tmp_path):
    member = load_member("m", touchy(tmp_path / "m.onnx"), {"x": ROWS})
    _, whole = in_two(member, {"x": ROWS}, tmp_path)
    assert own(whole, {"x": ROWS}).apart["PROBABILITIES"] > 1e-4


def test_a_plain_member_hardly_differs_from_itself(tmp_path):
    member = load_member("m", base(tmp_path / "m.onnx"), {"x": ROWS})
    _, whole = in_two(member, {"x": ROWS}, tmp_path)
    assert own(whole, {"x": ROWS}).apart["PROBABILITIES"] < 1e-5


def test_segments_may_differ_as_the_member_does_from_itself(tmp_path):
    member = load_member("m", touchy(tmp_path / "m.onnx"), {"x": ROWS})
    chain, whole = in_two(member, {"x": ROWS}, tmp_path, "second", 1.2e-7)
    assert 1e-4 < verify(chain, whole, {"x": ROWS}) <= 4 * own(whole, {"x": ROWS}).apart["PROBABILITIES"]


def test_segments_that_differ_more_are_refused_with_both_numbers(tmp_path):
    member = load_member("m", base(tmp_path / "m.onnx"), {"x": ROWS})
    chain, whole = in_two(member, {"x": ROWS}, tmp_path, "w1", 0.5)
    with pytest.raises(ServingError, match=r"allowed: [0-9.e-]+; the member differs from itself by [0-9.e-]+"):
        verify(chain, whole, {"x": ROWS})


def test_counted_times_are_the_same_each_time(tmp_path):
    rows = {"IMAGE": noise_rows(8, 0)}
    member = load_member("m", residual_net(tmp_path / "m.onnx"), rows)
    first, second = (nodecosts.measure(member.model, rows, "m", COUNTED) for _ in range(2))
    assert first == second


def test_counted_times_follow_the_multiplications(tmp_path):
    rows = {"IMAGE": noise_rows(8, 0)}
    member = load_member("m", residual_net(tmp_path / "m.onnx"), rows)
    share = nodecosts.measure(member.model, rows, "m", COUNTED).share
    convs = [node.name for node in member.model.graph if node.op_type == "Conv"]
    assert sum(share[name] for name in convs) > 0.9
    assert sum(share.values()) == pytest.approx(1.0)


def test_other_words_for_times_are_refused():
    with pytest.raises(ConfigError, match=r"unknown times 'guessed'.*allowed: counted, measured"):
        dataclasses.replace(Cuts(), times="guessed").check("bag.toml: [cuts]")
