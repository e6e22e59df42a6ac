from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from exeunt.errors import ConfigError
from exeunt_export.readers.graph import load_member
from tests.export.graphs import Net, noise_rows

ROWS = noise_rows(8, seed=0)
FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64


def added_input(net: Net, name: str, shape: list[int | str], dtype: ir.DataType = FLOAT) -> ir.Value:
    value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
    net.graph.inputs.append(value)
    return value


def shaped(value: ir.Value, name: str, shape: list[int | str]) -> ir.Value:
    value.name, value.shape, value.type = name, ir.Shape(shape), ir.TensorType(FLOAT)
    return value


def refusal(path: Path, output: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        load_member("m", path, {"IMAGE": ROWS}, output=output)
    assert str(path) in str(caught.value)
    return str(caught.value)


def token_net(vocabulary: int = 11) -> tuple[Net, ir.Value]:
    net = Net(0, ("rows", "tokens"), name="input_ids")
    net.input.type = ir.TensorType(INT64)
    hidden = net.node("Gather", net.weight(vocabulary, 4), net.input)
    return net, shaped(net.node("MatMul", hidden, net.weight(4, vocabulary)), "logits", ["rows", "tokens", vocabulary])


def test_a_decoder_is_refused_by_its_token_scores(tmp_path: Path) -> None:
    net, logits = token_net()
    message = refusal(net.save(tmp_path / "gpt.onnx", logits))
    assert "output 'logits' ['rows', 'tokens', 11]: scores for every token" in message
    assert "a cache that is filled for tokens that left early" in message
    assert "AutoModelForSequenceClassification" in message


def test_a_decoder_is_refused_by_its_cache(tmp_path: Path) -> None:
    net, logits = token_net()
    past = added_input(net, "past_key_values.0.key", ["rows", 2, "past", 4])
    present = shaped(net.node("Identity", past), "present.0.key", ["rows", 2, "past", 4])
    message = refusal(net.save(tmp_path / "gpt.onnx", logits, present))
    assert (
        "inputs past_key_values.0.key: a generative decoder with its cache" in message
        and "use_cache = False" in message
    )


def test_a_detector_is_refused_by_its_suppression(tmp_path: Path) -> None:
    net = Net(0)
    boxes = net.node("Reshape", net.input, net.constant(np.array([0, -1, 4])))
    scores = net.node(
        "Transpose", net.node("ReduceMax", boxes, net.constant(np.array([2])), keepdims=1), perm=[0, 2, 1]
    )
    selection = net.node("NonMaxSuppression", boxes, scores)
    selection.type, selection.shape = ir.TensorType(INT64), ir.Shape(["kept", 3])
    message = refusal(net.save(tmp_path / "ssd.onnx", selection))
    assert "is a detector (NonMaxSuppression); exeunt cannot vote on boxes" in message


def test_a_segmentation_is_refused_by_its_maps(tmp_path: Path) -> None:
    net = Net(0)
    maps = shaped(net.conv(net.input, 1, 5), "maps", ["rows", 5, 16, 16])
    assert "output 'maps' ['rows', 5, 16, 16]: a map of scores, as segmentation gives it" in refusal(
        net.save(tmp_path / "unet.onnx", maps)
    )


def test_maps_without_a_declared_shape_are_told_once_measured(tmp_path: Path) -> None:
    net = Net(0)
    message = refusal(net.save(tmp_path / "unet.onnx", net.conv(net.input, 1, 5)))
    assert "no classification" in message and "a map of scores" in message


def test_a_detector_s_rows_of_boxes_are_refused(tmp_path: Path) -> None:
    net = Net(0)
    boxes = shaped(net.node("Reshape", net.input, net.constant(np.array([0, 64, 4]))), "boxes", ["rows", 64, 4])
    assert "scores for each of several places, as a detector" in refusal(net.save(tmp_path / "yolo.onnx", boxes))


@pytest.mark.parametrize(("before", "after"), [("h0", "hn"), ("state_in", "state_out"), ("prevCell", "newCell")])
def test_a_model_with_state_is_refused(tmp_path: Path, before: str, after: str) -> None:
    net = Net(0)
    scores = shaped(net.logits(net.conv(net.input, 1, 2), 2, 5, 16), "scores", ["rows", 5])
    state = added_input(net, before, ["rows", 5])
    new_state = shaped(net.node("Add", scores, state), after, ["rows", 5])
    message = refusal(net.save(tmp_path / "rnn.onnx", scores, new_state), "scores")
    assert f"input '{before}' takes up what output '{after}' gave before: a model with state" in message
    assert f"add '{before}' to the samples" in message


def test_a_state_that_clients_send_is_an_input_like_others(tmp_path: Path) -> None:
    net = Net(0)
    state = added_input(net, "h0", ["rows", 5])
    scores = shaped(net.logits(net.conv(net.input, 1, 2), 2, 5, 16), "scores", ["rows", 5])
    new_state = shaped(net.node("Add", scores, state), "hn", ["rows", 5])
    path = net.save(tmp_path / "rnn.onnx", scores, new_state)
    table = {"IMAGE": ROWS, "h0": np.zeros((8, 5), np.float32)}
    assert load_member("m", path, table, output="hn").classes == 5


def test_unknown_operators_are_counted_with_their_opset(tmp_path: Path) -> None:
    net = Net(0)
    net.graph.opset_imports["my.ops"] = 2
    strange = net.input
    for _ in range(2):
        node = ir.node("Swirl", [strange], domain="my.ops")
        net.graph.append(node)
        strange = node.outputs[0]
    message = refusal(net.save(tmp_path / "m.onnx", net.logits(strange, 1, 5, 16)))
    assert "operators that onnxruntime does not know: my.ops:Swirl (opset 2) x 2" in message


def test_an_operator_that_is_newer_than_the_opset_is_unknown(tmp_path: Path) -> None:
    net = Net(0, opset=18)
    message = refusal(net.save(tmp_path / "m.onnx", net.logits(net.node("Gelu", net.input), 1, 5, 16)))
    assert "ai.onnx:Gelu (opset 18) x 1" in message


def test_chance_is_refused(tmp_path: Path) -> None:
    net = Net(0)
    noisy = net.node("Add", net.input, net.node("RandomNormalLike", net.input))
    message = refusal(net.save(tmp_path / "m.onnx", net.logits(noisy, 1, 5, 16)))
    assert "draws random numbers (RandomNormalLike); exeunt cannot give the same answer for the same row" in message
