from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from exeunt.errors import ConfigError
from exeunt_export.onnxfiles import open_in_memory, save
from exeunt_export.readers.graph import load_member
from tests.export.graphs import Net, noise_rows
from tests.places import FIXTURES

ROWS = noise_rows(8, seed=0)


def one_score() -> tuple[Net, ir.Value]:
    model = Net(0)
    return model, model.logits(model.conv(model.input, 1, 2), 2, 1, 16)


def answers(path: Path, tmp_path: Path, output: str = "", scores: str = "auto") -> np.ndarray:
    member = load_member("m", path, {"IMAGE": ROWS}, output=output, scores=scores)
    save(member.model, tmp_path / "loaded.onnx")
    probabilities = np.asarray(ort.InferenceSession(tmp_path / "loaded.onnx").run(None, {"IMAGE": ROWS})[0])
    assert probabilities.shape == (8, member.classes) and probabilities.dtype == np.float32
    return probabilities


def raw(path: Path) -> np.ndarray:
    return np.asarray(ort.InferenceSession(path).run(None, {"IMAGE": ROWS})[0]).reshape(8, -1)


def sigmoid(scores: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-scores)))


def test_one_logit_becomes_two_classes(tmp_path: Path) -> None:
    model, score = one_score()
    path = model.save(tmp_path / "m.onnx", score)
    of_one = sigmoid(raw(path))
    np.testing.assert_allclose(answers(path, tmp_path), np.concatenate([1 - of_one, of_one], 1), rtol=1e-4, atol=1e-6)


def test_one_probability_becomes_two_classes(tmp_path: Path) -> None:
    model, score = one_score()
    path = model.save(tmp_path / "m.onnx", model.node("Identity", model.node("Sigmoid", score)))
    np.testing.assert_allclose(answers(path, tmp_path)[:, 1:], raw(path), rtol=1e-6)


def test_a_score_without_a_class_dimension_is_binary_too(tmp_path: Path) -> None:
    model, score = one_score()
    flat = model.node("Squeeze", model.node("Sigmoid", score), model.constant(np.array([1])))
    path = model.save(tmp_path / "m.onnx", flat)
    np.testing.assert_allclose(answers(path, tmp_path)[:, 1:], raw(path), rtol=1e-6)


def test_what_the_scores_are_can_be_said(tmp_path: Path) -> None:
    model, score = one_score()
    small = model.node(
        "Add", model.node("Mul", score, model.constant(np.float32([1e-3]))), model.constant(np.float32([0.5]))
    )
    path = model.save(tmp_path / "m.onnx", small)
    np.testing.assert_allclose(answers(path, tmp_path)[:, 1:], raw(path), rtol=1e-6)
    np.testing.assert_allclose(answers(path, tmp_path, scores="logits")[:, 1:], sigmoid(raw(path)), rtol=1e-6)


def test_trailing_dimensions_of_one_are_dropped(tmp_path: Path) -> None:
    model = Net(0)
    maps = model.node("GlobalAveragePool", model.conv(model.input, 1, 5))  # SqueezeNet's end
    path = model.save(tmp_path / "m.onnx", model.node("Softmax", maps, axis=1))
    np.testing.assert_allclose(answers(path, tmp_path), raw(path), rtol=1e-6)


def test_the_only_output_that_can_hold_scores_is_chosen(tmp_path: Path) -> None:
    model = Net(0)
    scores = model.node("Softmax", model.logits(model.conv(model.input, 1, 2), 2, 5, 16), axis=1)
    label = model.node("ArgMax", scores, axis=1, keepdims=0)
    label.type, label.shape = ir.TensorType(ir.DataType.INT64), ir.Shape(["rows"])
    path = model.save(tmp_path / "m.onnx", label, scores)
    probabilities = answers(path, tmp_path)
    np.testing.assert_array_equal(probabilities.argmax(1), raw(path)[:, 0])


def test_a_zipmap_is_undone(tmp_path: Path) -> None:
    model = Net(0)
    model.graph.opset_imports["ai.onnx.ml"] = 3
    scores = model.node("Softmax", model.logits(model.conv(model.input, 1, 2), 2, 3, 16), axis=1)
    node = ir.node("ZipMap", [scores], attributes={"classlabels_int64s": [0, 1, 2]}, domain="ai.onnx.ml")
    node.outputs[0].name = "output_probability"
    node.outputs[0].type = ir.SequenceType(ir.TensorType(ir.DataType.FLOAT))
    model.graph.append(node)
    label = model.node("ArgMax", scores, axis=1, keepdims=0)
    label.type, label.shape = ir.TensorType(ir.DataType.INT64), ir.Shape(["rows"])
    model.graph.outputs[:] = [label, node.outputs[0]]
    ir.save(ir.Model(model.graph, ir_version=10), tmp_path / "m.onnx")
    assert answers(tmp_path / "m.onnx", tmp_path).sum(axis=1) == pytest.approx(np.ones(8))


def test_a_zipmap_of_a_converter_is_undone() -> None:
    file = FIXTURES / "onnxmltools_lightgbm.onnx"
    rows = np.random.default_rng(0).normal(size=(70, 12)).astype(np.float32)
    member = load_member("m", file, {"table": rows})
    expected = ort.InferenceSession(file).run(["probabilities"], {"table": rows})[0]
    probabilities = open_in_memory(member.model, "m").run(None, {"table": rows})[0]
    np.testing.assert_allclose(probabilities, [list(item.values()) for item in expected], rtol=1e-6)


def test_an_ambiguous_choice_lists_the_outputs(tmp_path: Path) -> None:
    model, score = one_score()
    other = model.node("Neg", score)
    for value in (score, other):
        value.shape = ir.Shape(["rows", 1])
    path = model.save(tmp_path / "m.onnx", score, other)
    message = rf"2 outputs \({score.name}: float \['rows', 1\]; {other.name}: float \['rows', 1\]\); .*output = "
    with pytest.raises(ConfigError, match=message):
        answers(path, tmp_path)
    np.testing.assert_allclose(
        answers(path, tmp_path, output=other.name or "")[:, 1],
        answers(path, tmp_path, output=score.name or "")[:, 0],
        rtol=1e-4,
        atol=1e-6,
    )
