"""Members that bring exits of their own: served votes at the exits are the model's own outputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from exeunt.contract import exit_model
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest
from exeunt.serving.checks.repository import check_repository
from exeunt.serving.pip_server import Server, serve
from exeunt_export.export_bag import export_bag
from exeunt_export.report.export_report import ExportReport
from tests.engine.desk import Desk
from tests.export.graphs import Net, noise_rows, residual_net
from tests.triton.calls import ask, vote_offline

CLASSES = 8


def branchy_net(path: Path, exits: int = 2, classes: int = CLASSES) -> Path:
    """BranchyNet's shape: blocks of a trunk, after each but the last a branch with scores; outputs b1, ..., end."""
    net = Net(5)
    x, outputs = net.conv(net.input, 1, 16), []
    for number in range(exits + 1):
        for _ in range(3):
            x = net.residual(x, 16)
        pooled = net.node("Flatten", net.node("GlobalAveragePool", x), axis=1)
        raw = net.node("MatMul", pooled, net.weight(16, classes))
        spread = net.node("LayerNormalization", raw, net.constant(np.full(classes, 2, np.float32)), axis=-1)
        value = net.node("Softmax", spread, axis=1) if number == 1 else spread  # one exit tells probabilities
        value.name = "end" if number == exits else f"b{number + 1}"
        value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["rows", classes])
        outputs.append(value)
    return net.save(path, *outputs)


def bag_of(folder: Path, *members: str, mode: str = "ensemble", exit_table: str = "") -> Path:
    np.save(folder / "samples.npy", noise_rows(80, 0))
    lines = ['name = "tiny"', 'samples = "samples.npy"', f'mode = "{mode}"', *members]
    lines += [
        "[cuts]",
        "exits = 3",
        "ramp_budget = 10",
        'times = "counted"',
        "[serving]",
        "max_batch_size = 4",
        "[exit]",
        exit_table,
    ]
    (folder / "bag.toml").write_text("\n".join(lines), encoding="utf-8")
    return folder / "bag.toml"


BRANCHY = '[[member]]\nname = "branchy"\nfile = "branchy.onnx"\nexits = ["b1", "b2"]'
PLAIN = '[[member]]\nname = "plain"\nfile = "plain.onnx"'


def own_votes(folder: Path, rows: np.ndarray) -> list[np.ndarray]:
    """What the operator's file says at b1, b2 and end, as probabilities."""
    outputs = ort.InferenceSession(folder / "branchy.onnx").run(["b1", "b2", "end"], {"IMAGE": rows})
    powers = [np.exp(item - item.max(axis=1, keepdims=True)) for item in outputs]
    probabilities = [power / power.sum(axis=1, keepdims=True) for power in powers]
    return [probabilities[0], np.asarray(outputs[1]), probabilities[2]]


@pytest.fixture(scope="module", params=["ensemble", "engine"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    folder = tmp_path_factory.mktemp(request.param)
    branchy_net(folder / "branchy.onnx")
    return export_bag(bag_of(folder, BRANCHY, mode=request.param), folder / "repository")


@pytest.fixture(scope="module")
def in_engine(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    folder = tmp_path_factory.mktemp("engine")
    branchy_net(folder / "branchy.onnx")
    return export_bag(bag_of(folder, BRANCHY, mode="engine"), folder / "repository")


def test_every_own_exit_is_an_exit_of_the_bag(exported: ExportReport) -> None:
    assert [exit_.depths for exit_ in exported.manifest.exits] == [(1,), (2,), (3,)]
    assert check_repository(exported.output).problems == ()


def test_votes_at_the_exits_are_the_member_s_own_outputs(exported: ExportReport) -> None:
    rows = noise_rows(6, 3)
    for number, votes in enumerate(own_votes(exported.output.parent, rows)):
        np.testing.assert_allclose(vote_offline(exported.output, number, rows), votes, rtol=1e-4, atol=1e-5)


def test_calibration_holds_the_member_s_own_outputs(exported: ExportReport) -> None:
    calibration = np.load(exported.output / "tiny_exit" / "1" / "calibration.npz")["branchy.1"]
    votes = own_votes(exported.output.parent, noise_rows(80, 0))[0]
    assert np.abs(votes - calibration[0]).max(axis=1).min() < 1e-5


def test_the_baseline_runs_without_the_branches(exported: ExportReport) -> None:
    session = ort.InferenceSession(exported.output / "tiny_branchy" / "1" / "model.onnx")
    assert [output.name for output in session.get_outputs()] == ["PROBABILITIES"]
    rows = noise_rows(6, 3)
    outputs = session.run(None, {"IMAGE": rows})[0]
    np.testing.assert_allclose(outputs, own_votes(exported.output.parent, rows)[2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("exit_", [0, 1, 2])
def test_an_engine_answers_with_the_exit_s_own_output(in_engine: ExportReport, exit_: int) -> None:
    manifest = in_engine.manifest
    folder = in_engine.output / exit_model("tiny") / "1"
    thresholds = [2.0 if number == exit_ else 0.0 for number in range(3)]
    rows = noise_rows(4, 3)
    with Desk(manifest, folder, thresholds, workers=1) as desk:
        desk.ask("a", rows)
        answer = desk.answers(1)["a"].answer
    assert set(answer.exit) == {exit_}
    np.testing.assert_allclose(
        answer.probabilities, own_votes(in_engine.output.parent, rows)[exit_], rtol=1e-4, atol=1e-5
    )


def test_other_members_are_cut_beside_the_own_exits(tmp_path: Path) -> None:
    branchy_net(tmp_path / "branchy.onnx")
    residual_net(tmp_path / "plain.onnx", 3, classes=CLASSES)
    report = export_bag(bag_of(tmp_path, BRANCHY, PLAIN), tmp_path / "repository")
    assert {exit_.depths[0] for exit_ in report.manifest.exits} == {1, 2, 3}
    assert report.manifest.members[0].depth == 3
    assert check_repository(tmp_path / "repository").problems == ()


def test_a_member_beside_own_exits_is_warned_of(tmp_path: Path) -> None:
    branchy_net(tmp_path / "branchy.onnx")
    whole = Net(0, (1, 1, 16, 16))
    mean = whole.node("ReduceMean", whole.input, whole.constant(np.array([0, 1])), keepdims=1)  # over the batch too
    flat = whole.node("Flatten", mean, axis=1)
    whole.save(tmp_path / "plain.onnx", whole.node("MatMul", flat, whole.weight(256, CLASSES)))
    report = export_bag(bag_of(tmp_path, BRANCHY, PLAIN), tmp_path / "repository")
    assert any("plain.onnx: its batch dimension is fixed at 1 inside" in warning for warning in report.warnings)


def test_twelve_own_exits_are_twelve_exits(tmp_path: Path) -> None:
    branchy_net(tmp_path / "branchy.onnx", exits=12)
    names = ", ".join(f'"b{number}"' for number in range(1, 13))
    report = export_bag(bag_of(tmp_path, BRANCHY.replace('"b1", "b2"', names)), tmp_path / "repository")
    assert [exit_.depths for exit_ in report.manifest.exits] == [(depth,) for depth in range(1, 14)]


@pytest.mark.parametrize(
    ("exits", "message"),
    [
        ('["b1", "b3"]', r"exits: unknown output 'b3' \(allowed: b1, b2, end\)"),
        ('["b2", "b1"]', "exits: number 2 is computed no later than the one before it, .*depth order"),
        ('["b1", "b1"]', "exits: 'b1' is named twice"),
        ('["b1"]', r"2 outputs \(b2: float .*; end: float .*\); say which"),
        ('"b1"', None),
        ("[1]", r"member branchy: exits = \[1\]; allowed: a list of outputs in depth order"),
    ],
)
def test_exits_that_cannot_be_are_refused(tmp_path: Path, exits: str, message: str | None) -> None:
    branchy_net(tmp_path / "branchy.onnx")
    bag = bag_of(tmp_path, BRANCHY.replace('["b1", "b2"]', exits))
    with pytest.raises(ConfigError, match=message) as caught:
        export_bag(bag, tmp_path / "repository")
    assert "bag.toml" in str(caught.value)


@pytest.fixture(scope="module")
def leaving_first(triton: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    folder = tmp_path_factory.mktemp("server")
    branchy_net(folder / "branchy.onnx")
    table = 'tuner = "static"\ntuner_options = { thresholds = [1.0] }\nlossless = false\nshadow_share = 0.0'
    export_bag(bag_of(folder, BRANCHY, exit_table=table), folder / "repository")
    with serve(folder / "repository") as server:
        yield server, folder


@pytest.mark.triton
def test_a_server_answers_with_the_exit_s_own_output(leaving_first: tuple[Server, Path]) -> None:
    server, folder = leaving_first
    rows = noise_rows(4, 3)
    answer = ask(server, "grpc", rows)
    votes = np.stack(own_votes(folder, rows))  # mostly of exit 0, but on a busy machine a later tap may overtake
    np.testing.assert_allclose(answer["PROBABILITIES"], votes[answer["EXIT"].ravel(), range(4)], rtol=1e-4, atol=1e-5)
    full = ask(server, "grpc", rows, exit="never")
    np.testing.assert_allclose(full["PROBABILITIES"], own_votes(folder, rows)[2], rtol=1e-4, atol=1e-5)


def test_the_manifest_of_own_exits_reads_back(exported: ExportReport) -> None:
    assert Manifest.load(exported.output / "tiny_exit" / "1" / "manifest.json") == exported.manifest
