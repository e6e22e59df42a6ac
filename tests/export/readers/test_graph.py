"""Member files in the bag's form: scores, inputs, outputs, and what is refused."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from exeunt.contract import PROBABILITIES
from exeunt.errors import ConfigError
from exeunt_export.onnxfiles import save
from exeunt_export.readers.graph import MemberGraph, load_member
from tests.export.graphs import Net, noise_rows

ROWS = noise_rows(8, seed=0)


def net(shape: tuple[int | str, ...] = ("rows", 1, 16, 16), opset: int = 18) -> tuple[Net, ir.Value]:
    model = Net(0, shape, opset=opset)
    return model, model.logits(model.conv(model.input, 1, 2), 2, 5, 16)


def run(member: MemberGraph, tmp_path: Path, rows: np.ndarray = ROWS) -> np.ndarray:
    save(member.model, tmp_path / "loaded.onnx")
    session = ort.InferenceSession(tmp_path / "loaded.onnx")
    assert [output.name for output in session.get_outputs()] == [PROBABILITIES]
    return np.asarray(session.run(None, {member.inputs[0].name: rows})[0])


def load(path: Path, rows: np.ndarray = ROWS, name: str = "IMAGE", output: str = "") -> MemberGraph:
    return load_member("m", path, {name: rows}, output=output)


def raw(path: Path) -> np.ndarray:
    session = ort.InferenceSession(path)
    return np.asarray(session.run(None, {session.get_inputs()[0].name: ROWS})[0])


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_logits_get_a_softmax(tmp_path: Path, opset: int) -> None:
    model, scores = net(opset=opset)
    path = model.save(tmp_path / "m.onnx", scores)
    np.testing.assert_allclose(run(load(path), tmp_path), softmax(raw(path)), rtol=1e-5)


def test_log_probabilities_get_an_exp(tmp_path: Path) -> None:
    model, scores = net()
    path = model.save(tmp_path / "m.onnx", model.node("LogSoftmax", scores, axis=1))
    np.testing.assert_allclose(run(load(path), tmp_path), np.exp(raw(path)), rtol=1e-5)


def test_probabilities_stay_as_they_are(tmp_path: Path) -> None:
    model, scores = net()
    path = model.save(tmp_path / "m.onnx", model.node("Identity", model.node("Softmax", scores, axis=1)))
    np.testing.assert_array_equal(run(load(path), tmp_path), raw(path))


def test_float16_probabilities_are_cast(tmp_path: Path) -> None:
    model, scores = net()
    half = model.node("Cast", model.node("Softmax", scores, axis=1), to=ir.DataType.FLOAT16.value)
    half.type = ir.TensorType(ir.DataType.FLOAT16)
    assert run(load(model.save(tmp_path / "m.onnx", half)), tmp_path).dtype == np.float32


def test_a_single_input_takes_the_bag_s_name(tmp_path: Path) -> None:
    model, scores = net()
    member = load(model.save(tmp_path / "m.onnx", scores), name="PIXELS")
    assert [input_.name for input_ in member.inputs] == ["PIXELS"]


def test_an_input_named_in_no_samples_keeps_its_name(tmp_path: Path) -> None:
    model, scores = net()
    member = load(model.save(tmp_path / "m.onnx", scores), name="")
    assert [input_.name for input_ in member.inputs] == ["IMAGE"]


def test_a_constant_extra_input_is_folded_in(tmp_path: Path) -> None:
    model = Net(0)
    shape = ir.Shape([1, 1, 1, 1])
    scale = ir.Value(name="scale", type=ir.TensorType(ir.DataType.FLOAT), shape=shape)
    model.graph.inputs.append(scale)
    scores = model.logits(model.conv(model.node("Mul", model.input, scale), 1, 2), 2, 5, 16)
    path = model.save(tmp_path / "m.onnx", scores)
    table = {"IMAGE": ROWS, "scale": np.full((1, 1, 1, 1), 0.5, np.float32)}
    member = load_member("m", path, table)
    assert [input_.name for input_ in member.inputs] == ["IMAGE"]
    expected = ort.InferenceSession(path).run(None, table)[0]
    np.testing.assert_allclose(run(member, tmp_path), softmax(expected), rtol=1e-5)


def test_the_output_may_be_chosen(tmp_path: Path) -> None:
    model, scores = net()
    path = model.save(tmp_path / "m.onnx", model.node("Neg", scores), scores)
    member = load(path, output=scores.name or "")
    np.testing.assert_allclose(run(member, tmp_path).argmax(1), raw(path).argmin(1))


def refused(path: Path, message: str, rows: np.ndarray = ROWS, output: str = "") -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(path, rows, output=output)
    assert path.name in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.onnx", "no such file")


@pytest.mark.parametrize("content", [b"", b"# no model\n"])
def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    refused(tmp_path / "m.onnx", "not an ONNX model")


def test_bfloat16_becomes_float32_with_the_same_numbers(tmp_path: Path) -> None:
    model = Net(0)
    small = model.node("Cast", model.conv(model.input, 1, 2), to=ir.DataType.BFLOAT16.value)
    weight = ml_dtypes.bfloat16(np.random.default_rng(0).normal(size=(512, 5)))
    flat = model.node("Reshape", small, model.constant(np.array([-1, 512])))
    scores = model.node("MatMul", flat, model.constant(weight))
    wide = model.node("Cast", scores, to=ir.DataType.FLOAT.value)
    member = load(model.save(tmp_path / "m.onnx", wide))
    weights = [
        initializer.const_value
        for initializer in member.model.graph.initializers.values()
        if initializer.shape == [512, 5]
    ]
    np.testing.assert_array_equal(weights[0].numpy(), weight.astype(np.float32))
    assert weights[0].dtype == ir.DataType.FLOAT and run(member, tmp_path).shape == (8, 5)


def test_an_input_that_no_node_reads_is_dropped(tmp_path: Path) -> None:
    model, scores = net()
    model.graph.inputs.append(
        ir.Value(name="unread", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1, 1, 1, 3]))
    )
    assert [input_.name for input_ in load(model.save(tmp_path / "m.onnx", scores)).inputs] == ["IMAGE"]


def test_an_output_that_is_no_classification_is_refused(tmp_path: Path) -> None:
    model = Net(0)
    path = model.save(tmp_path / "m.onnx", model.conv(model.input, 1, 2))
    refused(path, r"float32 of shape \['rows', 2, 16, 16\], no classification; allowed: .*\[rows, classes >= 2\]")


def test_labels_instead_of_scores_are_refused(tmp_path: Path) -> None:
    model, scores = net()
    label = model.node("ArgMax", scores, axis=1)
    label.type = ir.TensorType(ir.DataType.INT64)
    refused(model.save(tmp_path / "m.onnx", label), "no classification")


def test_several_outputs_ask_for_a_choice(tmp_path: Path) -> None:
    model, scores = net()
    path = model.save(tmp_path / "m.onnx", model.node("Neg", scores), scores)
    refused(path, r"2 outputs .*output = ")
    refused(path, r"unknown output 'scores'", output="scores")


def test_samples_of_another_shape_are_refused(tmp_path: Path) -> None:
    model, scores = net()
    path = model.save(tmp_path / "m.onnx", scores)
    refused(
        path, r"wants float32 of shape \['rows', 1, 16, 16\]; samples hold float32 of shape \[8, 16\]", ROWS[:, 0, 0]
    )
    refused(path, "samples hold uint8", ROWS.astype(np.uint8))


def test_samples_without_the_input_are_refused(tmp_path: Path) -> None:
    model, scores = net()
    model.graph.inputs.append(ir.Value(name="MASK", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["rows", 3])))
    both = model.node("Concat", scores, model.graph.inputs[1], axis=1)
    refused(model.save(tmp_path / "m.onnx", both), r"input 'MASK': samples hold no array of that name")
