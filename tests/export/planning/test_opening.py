"""A member that cannot be used is told of before any work is done on the others."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest

from exeunt.errors import ConfigError
from exeunt_export.export_bag import export_bag
from tests.export.graphs import Net, residual_net
from tests.export.tiny import CLASSES, SIDE, tiny_bag

FLOAT = ir.TensorType(ir.DataType.FLOAT)


def refusal(folder: Path, bag: Path) -> tuple[str, list[str]]:
    """What an export says, and the stages that it had begun."""
    stages: list[str] = []
    with pytest.raises(ConfigError) as caught:
        export_bag(bag, folder / "repository", progress=lambda stage, steps, total: stages.append(stage))
    assert not (folder / "repository").exists()
    return str(caught.value), sorted(set(stages))


def declare(path: Path) -> None:
    """Let a file say how many classes it has, as exporters do."""
    model = ir.load(path)
    model.graph.outputs[0].shape = ir.Shape(["rows", CLASSES])
    ir.save(model, path)


def declared(value: ir.Value, shape: list[int | str]) -> ir.Value:
    value.type, value.shape = FLOAT, ir.Shape(shape)
    return value


def dense(path: Path) -> None:
    net = Net(0, ("rows", 1, SIDE, SIDE))
    net.save(path, declared(net.conv(net.input, 1, 5), ["rows", 5, SIDE, SIDE]))


def random_numbers(path: Path) -> None:
    net = Net(0, ("rows", 1, SIDE, SIDE))
    net.save(path, net.logits(net.node("Add", net.input, net.node("RandomNormalLike", net.input)), 1, CLASSES, SIDE))


def other_classes(path: Path) -> None:
    net = Net(0, ("rows", 1, SIDE, SIDE))
    net.save(path, declared(net.logits(net.input, 1, 5, SIDE), ["rows", 5]))


def other_input(path: Path) -> None:
    net = Net(0, ("rows", 1, 8, 8))
    net.save(path, net.logits(net.input, 1, CLASSES, 8))


def more_inputs(path: Path) -> None:
    net = Net(0, ("rows", 1, SIDE, SIDE))
    net.graph.inputs.append(ir.Value(name="AGE", type=FLOAT, shape=ir.Shape(["rows", CLASSES])))
    net.save(path, net.node("Add", net.graph.inputs[1], net.logits(net.input, 1, CLASSES, SIDE)))


def no_model(path: Path) -> None:
    path.write_text("no", encoding="utf-8")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (no_model, "not an ONNX model"),
        (dense, "a map of scores"),
        (random_numbers, "draws random numbers"),
        (other_classes, "member c has 5 classes"),
        (other_input, "wants float32 of shape"),
        (more_inputs, "input 'AGE': samples = .* hold no array of that name"),
    ],
)
def test_a_bad_third_member_is_refused_before_the_first_is_run(
    tmp_path: Path, bad: Callable[[Path], None], why: str
) -> None:
    bag = tiny_bag(tmp_path, members=3)
    declare(tmp_path / "a.onnx")
    bad(tmp_path / "c.onnx")
    message, stages = refusal(tmp_path, bag)
    assert re.search(why, message) and "c.onnx" in message
    assert stages == ["read members"]


def test_a_missing_third_member_is_refused_before_the_first_is_read(tmp_path: Path) -> None:
    bag = tiny_bag(tmp_path, members=3)
    (tmp_path / "c.onnx").unlink()
    message, stages = refusal(tmp_path, bag)
    assert "bag.toml: member c: file = " in message and "c.onnx: no such file" in message
    assert stages == []


def test_labels_of_another_number_are_refused_before_members_are_run(tmp_path: Path) -> None:
    bag = tiny_bag(tmp_path, members=2)
    declare(tmp_path / "a.onnx")
    bag.write_text('labels = ["yes", "no"]\n' + bag.read_text(encoding="utf-8"), encoding="utf-8")
    message, stages = refusal(tmp_path, bag)
    assert "labels: 2 of them" in message and stages == ["read members"]


def test_a_third_member_that_fails_when_it_is_run_is_refused_before_nodes_are_timed(tmp_path: Path) -> None:
    bag = tiny_bag(tmp_path, members=3)
    residual_net(tmp_path / "c.onnx", 2, 0, CLASSES + 1, SIDE)  # its file declares no classes
    message, stages = refusal(tmp_path, bag)
    assert f"member c has {CLASSES + 1} classes" in message
    assert stages == ["read members", "run members"]
