from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from exeunt.errors import ConfigError
from exeunt.serving.checks.repository import check_repository
from exeunt_export.export_bag import export_bag
from exeunt_export.onnxfiles import save
from exeunt_export.readers.graph import MemberGraph, load_member
from tests.export.graphs import Net, noise_rows, residual_net

ROWS = noise_rows(8, seed=0)


def image_net(path: Path, name: str = "IMAGE") -> Path:
    net = Net(0, name=name)
    return net.save(path, net.logits(net.conv(net.input, 1, 2), 2, 5, 16))


def flat_net(path: Path) -> Path:
    """An image and its age, one number per row without a further dimension."""
    net = Net(0)
    age = ir.Value(name="AGE", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["rows"]))
    net.graph.inputs.append(age)
    column = net.node("Unsqueeze", age, net.constant(np.array([1])))
    return net.save(path, net.node("Mul", net.logits(net.conv(net.input, 1, 2), 2, 5, 16), column))


def scaling(path: Path, opset: int = 18, output: str = "scaled", dtype: ir.DataType = ir.DataType.FLOAT) -> Path:
    """uint8 pixels to -1..1."""
    net = Net(0, name="PIXELS", opset=opset)
    net.input.type = ir.TensorType(ir.DataType.UINT8)
    x = net.node("Cast", net.input, to=ir.DataType.FLOAT.value)
    x = net.node("Sub", net.node("Div", x, net.constant(np.float32([127.5]))), net.constant(np.float32([1])))
    if dtype != ir.DataType.FLOAT:
        x = net.node("Cast", x, to=dtype.value)
    x.name, x.type = output, ir.TensorType(dtype)
    return net.save(path, x)


def answers(member: MemberGraph, tmp_path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    save(member.model, tmp_path / "loaded.onnx")
    return np.asarray(ort.InferenceSession(tmp_path / "loaded.onnx").run(None, inputs)[0])


def test_an_input_takes_the_public_name_that_it_is_given(tmp_path: Path) -> None:
    path = image_net(tmp_path / "m.onnx", "pixel_values")
    member = load_member("m", path, {"IMAGE": ROWS, "OTHER": ROWS}, inputs={"pixel_values": "IMAGE"})
    assert [input_.name for input_ in member.inputs] == ["IMAGE"]


def two_images(path: Path) -> Path:
    net = Net(0, name="left")
    right = ir.Value(name="right", type=net.input.type, shape=net.input.shape)
    net.graph.inputs.append(right)
    return net.save(path, net.logits(net.node("Sub", net.conv(net.input, 1, 1), right), 1, 5, 16))


def test_names_may_be_exchanged(tmp_path: Path) -> None:
    path = two_images(tmp_path / "m.onnx")
    table = {"left": ROWS, "right": ROWS[::-1].copy()}
    member = load_member("m", path, table, inputs={"left": "right", "right": "left"})
    straight = answers(load_member("m", path, table), tmp_path, table)
    exchanged = answers(member, tmp_path, {"left": table["right"], "right": table["left"]})
    np.testing.assert_allclose(straight, exchanged, rtol=1e-6)


def test_two_inputs_of_one_public_name_become_one(tmp_path: Path) -> None:
    path = two_images(tmp_path / "m.onnx")
    member = load_member("m", path, {"IMAGE": ROWS}, inputs={"left": "IMAGE", "right": "IMAGE"})
    both = load_member("m", path, {"left": ROWS, "right": ROWS})
    expected = answers(both, tmp_path, {"left": ROWS, "right": ROWS})
    np.testing.assert_allclose(answers(member, tmp_path, {"IMAGE": ROWS}), expected, rtol=1e-6)


def test_an_input_that_the_member_does_not_have_is_refused(tmp_path: Path) -> None:
    path = image_net(tmp_path / "m.onnx", "pixel_values")
    with pytest.raises(ConfigError, match=r"m\.onnx: inputs: unknown input 'pixels'; did you mean 'pixel_values'"):
        load_member("m", path, {"IMAGE": ROWS}, inputs={"pixels": "IMAGE"})


def test_an_input_without_samples_is_told_how_to_be_named(tmp_path: Path) -> None:
    path = image_net(tmp_path / "m.onnx", "pixel_values")
    with pytest.raises(ConfigError, match=r'inputs = \{ pixel_values = "IMAGE" \} in its \[\[member\]\]'):
        load_member("m", path, {"IMAGE": ROWS, "OTHER": ROWS})


def test_a_number_per_row_is_a_column_to_clients(tmp_path: Path) -> None:
    path = flat_net(tmp_path / "m.onnx")
    age = np.linspace(0, 1, 8, dtype=np.float32)
    member = load_member("m", path, {"IMAGE": ROWS, "AGE": age})
    assert [(input_.name, input_.dims) for input_ in member.inputs] == [("IMAGE", (1, 16, 16)), ("AGE", (1,))]
    raw = ort.InferenceSession(path).run(None, {"IMAGE": ROWS, "AGE": age})[0]
    votes = answers(member, tmp_path, {"IMAGE": ROWS, "AGE": age[:, None]})
    powers = np.exp(raw - raw.max(axis=1, keepdims=True))
    np.testing.assert_allclose(votes, powers / powers.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_preprocessing_is_done_before_the_member_whatever_its_opset(tmp_path: Path, opset: int) -> None:
    path, before = image_net(tmp_path / "m.onnx"), scaling(tmp_path / "scale.onnx", opset)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 1, 16, 16), dtype=np.uint8)
    member = load_member("m", path, {"PIXELS": pixels}, preprocess=before)
    assert [(input_.name, input_.dtype) for input_ in member.inputs] == [("PIXELS", "uint8")]
    plain = load_member("m", path, {"IMAGE": ROWS})
    expected = answers(plain, tmp_path, {"IMAGE": pixels.astype(np.float32) / np.float32(127.5) - 1})
    np.testing.assert_allclose(answers(member, tmp_path, {"PIXELS": pixels}), expected, rtol=1e-4, atol=1e-6)


def test_preprocessing_of_another_type_is_refused(tmp_path: Path) -> None:
    path, before = image_net(tmp_path / "m.onnx"), scaling(tmp_path / "scale.onnx", dtype=ir.DataType.DOUBLE)
    with pytest.raises(
        ConfigError, match=r"scale\.onnx: output '.*scaled' is double, input 'IMAGE' of .*is float; end"
    ):
        load_member("m", path, {"PIXELS": ROWS}, preprocess=before)


def test_preprocessing_that_meets_no_input_is_refused(tmp_path: Path) -> None:
    path, before = flat_net(tmp_path / "m.onnx"), scaling(tmp_path / "scale.onnx")
    with pytest.raises(ConfigError, match=r"scale\.onnx: output 'scaled' is no input of .*allowed: 'IMAGE', 'AGE'"):
        load_member("m", path, {"PIXELS": ROWS}, preprocess=before)


def mixed_bag(folder: Path, top: str = "", second: str = "") -> Path:
    """One member scales pixels, the other takes them with an age."""
    residual_net(folder / "plain.onnx", 1, classes=5)
    flat_net(folder / "aged.onnx")
    scaling(folder / "scale.onnx")
    rng = np.random.default_rng(0)
    pixels, age = rng.integers(0, 256, (60, 1, 16, 16), dtype=np.uint8), rng.normal(size=60).astype(np.float32)
    np.savez(folder / "samples.npz", PIXELS=pixels, AGE=age)
    lines = ['name = "mixed"', 'samples = "samples.npz"', 'mode = "engine"', top]
    lines += ["[[member]]", 'name = "plain"', 'file = "plain.onnx"', 'preprocess = "scale.onnx"']
    lines += ["[[member]]", 'name = "aged"', 'file = "aged.onnx"', 'preprocess = "scale.onnx"', second]
    lines += ["[cuts]", "exits = 1", "ramp_budget = 10", 'times = "counted"', "[serving]", "max_batch_size = 2"]
    (folder / "bag.toml").write_text("\n".join(lines), encoding="utf-8")
    return folder / "bag.toml"


@pytest.mark.parametrize("mode", ["engine", "ensemble"])
def test_members_with_inputs_and_scales_of_their_own_make_a_bag(tmp_path: Path, mode: str) -> None:
    bag = mixed_bag(tmp_path, 'inputs = ["AGE", "PIXELS"]')
    scaling(tmp_path / "scale.onnx", output="IMAGE")
    bag.write_text(bag.read_text(encoding="utf-8").replace('"engine"', f'"{mode}"'), encoding="utf-8")
    report = export_bag(bag, tmp_path / "repository")
    items = [(input_.name, input_.dtype, input_.dims) for input_ in report.manifest.inputs]
    assert items == [("AGE", "float32", (1,)), ("PIXELS", "uint8", (1, 16, 16))]
    assert check_repository(tmp_path / "repository").problems == ()
    input_names = {m.name: {t.name for t in m.segments[0].inputs} for m in report.manifest.members}
    assert input_names == {"plain": {"PIXELS"}, "aged": {"AGE", "PIXELS"}}


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ('inputs = ["PIXELS"]', r"bag\.toml: member aged: inputs: unknown input 'AGE' \(allowed: PIXELS\)"),
        ('inputs = ["PIXELS", "AGE", "SEX"]', r"bag\.toml: inputs: no member takes 'SEX'; they take PIXELS, AGE"),
    ],
)
def test_public_inputs_that_are_not_the_members_are_refused(tmp_path: Path, top: str, message: str) -> None:
    bag = mixed_bag(tmp_path, top)
    scaling(tmp_path / "scale.onnx", output="IMAGE")
    with pytest.raises(ConfigError, match=message):
        export_bag(bag, tmp_path / "repository")
