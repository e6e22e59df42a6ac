from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.manifest import Tensor
from exeunt_export.cutting.pooling import MAX_FEATURES, append_pooling, choose_grid, columns, features_of, layout_of
from exeunt_export.onnxfiles import IR_VERSION, open_in_memory
from exeunt_export.readers.graph import MemberGraph, load_member
from exeunt_export.readers.token_mask import mask_of
from tests.export.graphs import Net


def pooled(arrays: list[np.ndarray], layouts: list[str], grid: int, opset: int = 18, pool: str = "mean") -> np.ndarray:
    tensors = [Tensor(f"x{number}", str(array.dtype), array.shape[1:]) for number, array in enumerate(arrays)]
    values = [
        ir.Value(name=t.name, type=ir.TensorType(ir.DataType.from_numpy(a.dtype)), shape=ir.Shape(["rows", *t.dims]))
        for t, a in zip(tensors, arrays, strict=True)
    ]
    graph = ir.Graph(values, [], nodes=[], opset_imports={"": opset}, name="g")
    graph.outputs.append(append_pooling(graph, values, tensors, layouts, grid, "F", pool=pool))
    session: ort.InferenceSession = open_in_memory(ir.Model(graph, ir_version=IR_VERSION), "test")
    input_names = {input_.name for input_ in session.get_inputs()}
    out = session.run(None, {t.name: a for t, a in zip(tensors, arrays, strict=True) if t.name in input_names})[0]
    pairs = zip(tensors, layouts, strict=True)
    assert out.shape[1] == sum(features_of(t, layout, grid, pool) for t, layout in pairs if t.dtype.startswith("float"))
    return np.asarray(out)


def numbers(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def test_images_are_pooled_to_a_grid_of_means() -> None:
    x = numbers(3, 5, 8, 8)
    means = x.reshape(3, 5, 4, 2, 4, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(pooled([x], ["channels_first"], 4), means.reshape(3, -1), rtol=1e-4, atol=1e-6)


def test_channels_last_gives_the_same_features() -> None:
    x = numbers(3, 5, 8, 8)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(pooled([last], ["channels_last"], 2), pooled([x], ["channels_first"], 2), rtol=1e-5)


def test_a_grid_of_one_is_the_global_mean() -> None:
    x = numbers(3, 5, 7, 9)
    np.testing.assert_allclose(pooled([x], ["channels_first"], 1), x.mean(axis=(2, 3)), rtol=1e-4, atol=1e-6)


def test_tokens_give_the_first_and_the_mean() -> None:
    x = numbers(3, 6, 5)
    expected = np.concatenate([x[:, 0], x.mean(axis=1)], axis=1)
    np.testing.assert_allclose(pooled([x], ["tokens"], 4), expected, rtol=1e-4, atol=1e-6)


def test_maxima_are_those_of_all_positions_in_every_layout() -> None:
    x = numbers(3, 5, 7, 9)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(pooled([x], ["channels_first"], 4, pool="max"), x.max(axis=(2, 3)))
    np.testing.assert_array_equal(pooled([last], ["channels_last"], 4, pool="max"), x.max(axis=(2, 3)))
    line = numbers(3, 5, 11)
    np.testing.assert_array_equal(pooled([line], ["channels_first"], 4, pool="max"), line.max(axis=2))


def test_maxima_of_tokens_stand_beside_the_first() -> None:
    x = numbers(3, 6, 5)
    expected = np.concatenate([x[:, 0], x.max(axis=1)], axis=1)
    np.testing.assert_array_equal(pooled([x], ["tokens"], 4, pool="max"), expected)


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_the_features_of_a_pool_are_columns_of_both(pool: str) -> None:
    arrays = [numbers(3, 2, 8, 8), numbers(3, 6), numbers(3, 4, 5)]
    layouts = ["channels_first", "channels_first", "tokens"]
    tensors = [Tensor(f"x{number}", "float32", array.shape[1:]) for number, array in enumerate(arrays)]
    both = pooled(arrays, layouts, 2, pool="both")
    np.testing.assert_array_equal(both[:, columns(tensors, layouts, 2, pool)], pooled(arrays, layouts, 2, pool=pool))


def test_a_flat_tensor_stays_as_it_is() -> None:
    x = numbers(3, 40)
    np.testing.assert_array_equal(pooled([x], ["channels_first"], 4), x)


def test_a_long_flat_tensor_is_shortened() -> None:
    assert pooled([numbers(2, 3 * MAX_FEATURES)], ["channels_first"], 4).shape == (2, MAX_FEATURES)


def test_every_tensor_of_a_wide_cut_is_pooled_and_masks_are_not() -> None:
    arrays = [numbers(3, 2, 4, 4), numbers(3, 6), np.ones((3, 4), np.int64)]
    assert pooled(arrays, ["channels_first"] * 3, 2).shape == (3, 2 * 4 + 6)


def test_half_precision_becomes_float32() -> None:
    assert pooled([numbers(3, 2, 4, 4, dtype="float16")], ["channels_first"], 2).dtype == np.float32


def test_old_opsets_pool_as_well() -> None:
    x = numbers(3, 6, 5)
    np.testing.assert_allclose(pooled([x], ["tokens"], 4, opset=11), pooled([x], ["tokens"], 4), rtol=1e-6)


@given(height=st.integers(1, 20), width=st.integers(1, 20), grid=st.sampled_from((1, 2, 4, 8)))
def test_a_constant_image_has_constant_features_at_every_size(height: int, width: int, grid: int) -> None:
    x = np.full((1, 2, height, width), 3.0, np.float32)
    out = pooled([x], ["channels_first"], grid)
    np.testing.assert_allclose(out, 3.0, rtol=1e-5)
    assert out.shape[1] == 2 * min(grid, height) * min(grid, width) or grid == 1


@given(channels=st.integers(1, 3000), side=st.integers(1, 64), classes=st.sampled_from((2, 10, 1000)))
def test_the_grid_keeps_a_ramp_small_where_it_can(channels: int, side: int, classes: int) -> None:
    tensor = [Tensor("x", "float32", (channels, side, side))]
    grid = choose_grid(tensor, ["channels_first"], classes, (4, 2, 1))
    features = features_of(tensor[0], "channels_first", grid)
    assert grid == 1 or (features <= MAX_FEATURES and features * classes * 4 <= 8 << 20)


@pytest.mark.parametrize(("channels", "grid"), [(32, 4), (256, 4), (500, 2), (2048, 1)])
def test_wider_cuts_get_coarser_grids(channels: int, grid: int) -> None:
    assert choose_grid([Tensor("x", "float32", (channels, 14, 14))], ["channels_first"], 10, (4, 2, 1)) == grid


def test_a_transposition_before_or_after_tells_channels_last(tmp_path: Path) -> None:
    net = Net(0)
    after = net.node("Relu", net.node("Transpose", net.conv(net.input, 1, 2), perm=[0, 2, 3, 1]))
    other = Net(0, ("rows", 16, 16, 1))
    before = other.node("Relu", other.input)
    other.conv(other.node("Transpose", before, perm=[0, 3, 1, 2]), 1, 2)
    assert (layout_of(after, 4), layout_of(before, 4)) == ("channels_last", "channels_last")


def test_a_convolution_before_tells_channels_first() -> None:
    net = Net(0)
    assert layout_of(net.node("Relu", net.conv(net.input, 1, 2)), 4) == "channels_first"


def test_three_axes_without_a_convolution_are_tokens() -> None:
    net = Net(0, ("rows", 6, 5))
    assert layout_of(net.node("MatMul", net.input, net.weight(5, 5)), 3) == "tokens"


def test_a_layer_norm_or_weights_over_the_last_axis_tell_channels_last() -> None:
    net = Net(0, ("rows", 8, 8, 5))
    mixed = net.node("Tanh", net.node("MatMul", net.input, net.weight(5, 5)))
    normed = net.node("LayerNormalization", net.input, net.weight(5), axis=-1)
    assert (layout_of(mixed, 4), layout_of(normed, 4)) == ("channels_last", "channels_last")


def test_what_keeps_the_layout_is_looked_through_up_to_the_transpositions_of_tf2onnx() -> None:
    net = Net(0, ("rows", 8, 8, 3))
    first = net.conv(net.node("Transpose", net.input, perm=[0, 3, 1, 2]), 3, 4)
    last = net.node("Max", net.node("Sqrt", net.node("Transpose", first, perm=[0, 2, 3, 1])), net.weight(4))
    back = net.node("Neg", net.node("Transpose", last, perm=[0, 3, 1, 2]))
    assert [layout_of(item, 4) for item in (first, last, back)] == ["channels_first", "channels_last", "channels_first"]


def masked(rows: np.ndarray, mask: np.ndarray, pool: str = "mean") -> np.ndarray:
    value = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["rows", *rows.shape[1:]]))
    kind = ir.TensorType(ir.DataType.from_numpy(mask.dtype))
    counts = ir.Value(name="mask", type=kind, shape=ir.Shape(["rows", mask.shape[1]]))
    graph = ir.Graph([value, counts], [], nodes=[], opset_imports={"": 18}, name="g")
    tensor = [Tensor("x", "float32", rows.shape[1:])]
    graph.outputs.append(append_pooling(graph, [value], tensor, ["tokens"], 4, "F", counts, pool))
    session = open_in_memory(ir.Model(graph, ir_version=IR_VERSION), "test")
    return np.asarray(session.run(None, {"x": rows, "mask": mask})[0])


@pytest.mark.parametrize("dtype", ["int64", "int32", "bool"])
def test_tokens_that_the_mask_leaves_out_do_not_count(dtype: str) -> None:
    x, mask = numbers(3, 6, 5), np.array([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 1, 0]]).astype(dtype)
    means = np.stack([row[row_mask.astype(bool)].mean(axis=0) for row, row_mask in zip(x, mask, strict=True)])
    expected = np.concatenate([x[:, 0], means], axis=1)
    np.testing.assert_allclose(masked(x, mask), expected, rtol=1e-4, atol=1e-6)
    maxima = np.stack([row[row_mask.astype(bool)].max(axis=0) for row, row_mask in zip(x, mask, strict=True)])
    np.testing.assert_allclose(masked(x, mask, "max"), np.concatenate([x[:, 0], maxima], axis=1), rtol=1e-6)


def test_a_row_without_any_token_has_finite_features() -> None:
    for pool in ("mean", "max", "both"):
        assert np.isfinite(masked(numbers(1, 6, 5), np.zeros((1, 6), np.int64), pool)).all()


def text_net(path: Path) -> MemberGraph:
    """A classifier of ids, types and a mask, all int64 [rows, 6]."""
    net = Net(0, ("rows", 6), "ids")
    net.input.type = ir.TensorType(ir.DataType.INT64)
    for name in ("types", "attention"):
        net.graph.inputs.append(ir.Value(name=name, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(["rows", 6])))
    _, types, attention = net.graph.inputs
    x = net.node("Add", *(net.node("Gather", net.weight(9, 5), item) for item in (net.input, types)))
    float_mask = net.node("Unsqueeze", net.node("Cast", attention, to=1), net.constant(np.array([2])))
    mean = net.node("ReduceMean", net.node("Mul", x, float_mask), net.constant(np.array([1])), keepdims=0)
    rows = np.random.default_rng(0).integers(0, 2, (8, 6))
    file = net.save(path, net.node("MatMul", mean, net.weight(5, 4)))
    return load_member("m", file, {"ids": rows, "types": rows, "attention": rows})


def test_the_mask_is_the_input_that_chooses_no_rows_of_a_table(tmp_path: Path) -> None:
    member = text_net(tmp_path / "m.onnx")
    assert (mask_of(member, 6), mask_of(member, 7)) == ("attention", "")
