"""Members whose file fixes the batch dimension, or has none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from exeunt_export.readers.graph import MemberGraph
from tests.export.graphs import Net
from tests.export.readers.test_graph import ROWS, load, net, refused, run, softmax


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_is_freed(tmp_path: Path, batch: int) -> None:
    model = Net(0, (batch, 1, 16, 16))
    x = model.conv(model.input, 1, 2)
    flat = model.node("Reshape", x, model.constant(np.array([batch, 512])))
    path = model.save(tmp_path / "m.onnx", model.node("MatMul", flat, model.weight(512, 5)))
    session = ort.InferenceSession(path)
    parts = [session.run(None, {"IMAGE": ROWS[n : n + batch]})[0] for n in range(0, 6, batch)]
    np.testing.assert_allclose(run(load(path), tmp_path, ROWS[:6]), softmax(np.concatenate(parts)), rtol=1e-4)


def test_a_token_that_is_joined_to_one_row_is_joined_to_all(tmp_path: Path) -> None:
    model = Net(0, (1, 6, 5))
    joined = model.node("Concat", model.weight(1, 1, 5), model.input, axis=1)
    mixed = model.node("Tanh", model.node("MatMul", joined, model.weight(5, 5)))
    path = model.save(tmp_path / "m.onnx", model.node("ReduceMean", mixed, model.constant(np.array([1])), keepdims=0))
    rows = np.random.default_rng(0).normal(size=(8, 6, 5)).astype(np.float32)
    member = load(path, rows)
    session = ort.InferenceSession(path)
    expected = np.concatenate([session.run(None, {"IMAGE": rows[n : n + 1]})[0] for n in range(8)])
    np.testing.assert_allclose(run(member, tmp_path, rows), softmax(expected), rtol=1e-4)
    assert not member.remarks and "Scan" not in {node.op_type for node in member.model.graph}


def row_by_row(path: Path, tmp_path: Path, rows: np.ndarray, batched: bool) -> MemberGraph:
    """The member, after checking that it says for many rows what the file says for each."""
    member = load(path, rows)
    session = ort.InferenceSession(path)
    items = [row[None] if batched else row for row in rows]
    expected = np.stack([session.run(None, {"IMAGE": item})[0].reshape(-1) for item in items])
    np.testing.assert_allclose(run(member, tmp_path, rows), softmax(expected), rtol=1e-4)
    return member


def test_a_batch_of_one_that_cannot_be_freed_runs_row_by_row(tmp_path: Path) -> None:
    model = Net(0, (1, 4))
    whole = model.node("ReduceSum", model.input, model.constant(np.array([0, 1])), keepdims=1)  # over the batch too
    path = model.save(
        tmp_path / "m.onnx", model.node("MatMul", model.node("Mul", model.input, whole), model.weight(4, 5))
    )
    rows = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    member = row_by_row(path, tmp_path, rows, True)
    assert "fixed at 1 inside: it runs row by row" in member.remarks[0]


def test_a_missing_batch_runs_row_by_row(tmp_path: Path) -> None:
    model = Net(0, (4,))
    path = model.save(tmp_path / "m.onnx", model.node("MatMul", model.input, model.weight(4, 5)))
    rows = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    member = row_by_row(path, tmp_path, rows, False)
    assert "no batch dimension: it runs row by row" in member.remarks[0]


def test_a_batch_of_many_that_cannot_be_freed_is_refused_with_its_cure(tmp_path: Path) -> None:
    model = Net(0, (2, 4))
    whole = model.node("ReduceSum", model.input, model.constant(np.array([0, 1])), keepdims=1)
    path = model.save(
        tmp_path / "m.onnx", model.node("MatMul", model.node("Mul", model.input, whole), model.weight(4, 5))
    )
    rows = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    refused(path, r"fixed at 2 and cannot be freed: .*dynamic_shapes", rows)


@pytest.mark.parametrize("target", [[1, 512], [1, -1], [3, 512]])
def test_a_batch_that_is_fixed_inside_only_is_freed(tmp_path: Path, target: list[int]) -> None:
    model = Net(0)
    flat = model.node("Reshape", model.conv(model.input, 1, 2), model.constant(np.array(target)))
    path = model.save(tmp_path / "m.onnx", model.node("MatMul", flat, model.weight(512, 5)))
    batch, member = target[0], load(path)
    session = ort.InferenceSession(path)
    parts = [session.run(None, {"IMAGE": ROWS[n : n + batch]})[0] for n in range(0, 6, batch)]
    for rows in (1, 6):
        expected = softmax(np.concatenate(parts)[:rows])
        np.testing.assert_allclose(run(member, tmp_path, ROWS[:rows]), expected, rtol=1e-4)
    assert not member.remarks and "Scan" not in {node.op_type for node in member.model.graph}


def test_a_token_that_is_made_for_one_row_is_made_for_all(tmp_path: Path) -> None:
    model = Net(0, ("rows", 6, 5))
    joined = model.node("Concat", model.weight(1, 1, 5), model.input, axis=1)
    mixed = model.node("Tanh", model.node("MatMul", joined, model.weight(5, 5)))
    path = model.save(tmp_path / "m.onnx", model.node("ReduceMean", mixed, model.constant(np.array([1])), keepdims=0))
    rows = np.random.default_rng(0).normal(size=(8, 6, 5)).astype(np.float32)
    expected = np.concatenate([ort.InferenceSession(path).run(None, {"IMAGE": row[None]})[0] for row in rows])
    np.testing.assert_allclose(run(load(path, rows), tmp_path, rows), softmax(expected), rtol=1e-4)


def test_an_output_that_declares_one_row_is_taken_as_it_runs(tmp_path: Path) -> None:
    model, scores = net()
    scores.shape = ir.Shape([1, 5])
    member = load(model.save(tmp_path / "m.onnx", scores))
    assert run(member, tmp_path).shape == (8, 5) and not member.remarks
    assert not any(value.shape == [1, 5] for node in member.model.graph for value in node.outputs)


@pytest.mark.parametrize("tokens", [6, "tokens"])
def test_a_batch_of_one_inside_that_cannot_be_freed_runs_row_by_row(tmp_path: Path, tokens: int | str) -> None:
    model = Net(0, ("rows", tokens, 5))
    swapped = model.node("Reshape", model.input, model.constant(np.array([6, 1, 5])))  # tokens first, as torch has them
    mixed = model.node("Tanh", model.node("MatMul", swapped, model.weight(5, 5)))
    path = model.save(tmp_path / "m.onnx", model.node("ReduceMean", mixed, model.constant(np.array([0])), keepdims=0))
    rows = np.random.default_rng(0).normal(size=(8, 6, 5)).astype(np.float32)
    assert "fixed at 1 inside: it runs row by row" in row_by_row(path, tmp_path, rows, True).remarks[0]


def test_rows_that_melt_into_one_declared_row_are_refused(tmp_path: Path) -> None:
    model, scores = net()
    mean = model.node("ReduceMean", scores, model.constant(np.array([0])), keepdims=1)
    mean.shape = ir.Shape([1, 5])
    refused(model.save(tmp_path / "m.onnx", mean), "inside the batch is fixed at 1 and cannot be freed")


def test_a_batch_that_is_fixed_inside_and_cannot_be_freed_is_refused_with_its_cure(tmp_path: Path) -> None:
    model = Net(0)
    whole = model.node("ReduceSum", model.input, model.constant(np.array([0, 1])), keepdims=1)  # over the batch too
    mixed = model.node("Reshape", model.node("Mul", model.input, whole), model.constant(np.array([2, 256])))
    path = model.save(tmp_path / "m.onnx", model.node("MatMul", mixed, model.weight(256, 5)))
    refused(path, r"take any number of rows, but inside the batch is fixed at 2 and cannot be freed: .*dynamic_shapes")


def test_a_missing_sample_of_a_fixed_batch_is_told(tmp_path: Path) -> None:
    model, scores = net((2, 1, 16, 16))
    model.graph.inputs.append(ir.Value(name="more", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2, 5])))
    total = model.node("Add", scores, model.graph.inputs[1])
    refused(model.save(tmp_path / "m.onnx", total), "input 'more': samples hold no array of that name")


def test_rows_that_melt_into_one_are_refused(tmp_path: Path) -> None:
    model, scores = net()
    mean = model.node("ReduceMean", scores, model.constant(np.array([0])), keepdims=1)
    refused(model.save(tmp_path / "m.onnx", mean), "7 rows in, 1 out")
