"""Preprocessing that the members of a bag share: one model, run once for each request."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from google.protobuf import text_format
from tritonclient import grpc
from tritonclient.grpc import model_config_pb2 as pb

from exeunt.cli.main import main
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest
from exeunt.serving.checks.repository import check_repository
from exeunt.serving.pip_server import Server, serve
from exeunt_client import Client, RequestOptions
from exeunt_export.export_bag import export_bag
from exeunt_export.report.export_report import ExportReport
from tests.export.graphs import Net, noise_rows
from tests.export.readers.test_inputs import flat_net, image_net, scaling

MEMBERS = ("plain", "aged")


def shared_bag(folder: Path, mode: str, samples: dict[str, np.ndarray] | None = None) -> Path:
    """Bytes are scaled once for two members, one of which takes an age too that passes by."""
    image_net(folder / "plain.onnx")
    flat_net(folder / "aged.onnx")
    scaling(folder / "scale.onnx", output="IMAGE")
    np.savez(folder / "samples.npz", **(samples or inputs(60, 0)))
    lines = ['name = "both"', 'samples = "samples.npz"', f'mode = "{mode}"', 'preprocess = "scale.onnx"']
    for name in MEMBERS:
        lines += ["[[member]]", f'name = "{name}"', f'file = "{name}.onnx"']
    lines += [
        "[cuts]",
        "exits = 1",
        "ramp_budget = 100",
        'times = "counted"',
        "[serving]",
        "max_batch_size = 4",
        "stream = true",
    ]
    (folder / "bag.toml").write_text("\n".join(lines), encoding="utf-8")
    return folder / "bag.toml"


def inputs(rows: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (rows, 1, 16, 16), dtype=np.uint8)
    return {"PIXELS": pixels, "AGE": rng.normal(size=(rows, 1)).astype(np.float32)}


def whole_vote(folder: Path, rows: dict[str, np.ndarray]) -> np.ndarray:
    """The mean of the operator's own files on pixels scaled here, float32 [rows, classes]."""
    scaled = rows["PIXELS"].astype(np.float32) / np.float32(127.5) - 1
    table = {"plain": {"IMAGE": scaled}, "aged": {"IMAGE": scaled, "AGE": rows["AGE"][:, 0]}}
    scores = [ort.InferenceSession(folder / f"{name}.onnx").run(None, table[name])[0] for name in MEMBERS]
    powers = [np.exp(score - score.max(axis=1, keepdims=True)) for score in scores]
    return np.asarray(sum(power / power.sum(axis=1, keepdims=True) for power in powers) / 2)


@pytest.fixture(scope="module", params=["ensemble", "engine"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    folder = tmp_path_factory.mktemp(request.param)
    return export_bag(shared_bag(folder, request.param), folder / "repository")


def test_what_it_takes_is_public_and_what_it_makes_is_not(exported: ExportReport) -> None:
    manifest = exported.manifest
    assert [(public_input.name, public_input.dtype) for public_input in manifest.public_inputs] == [
        ("PIXELS", "uint8"),
        ("AGE", "float32"),
    ]
    assert [(input_.name, input_.dtype) for input_ in manifest.inputs] == [("IMAGE", "float32"), ("AGE", "float32")]
    assert Manifest.load(exported.output / "both_exit" / "1" / "manifest.json") == manifest


def test_the_repository_passes_every_check(exported: ExportReport) -> None:
    assert check_repository(exported.output).problems == ()


def test_it_is_the_first_step_of_what_clients_call_and_no_step_of_the_bag(exported: ExportReport) -> None:
    steps = {}
    for path in exported.output.glob("*/config.pbtxt"):
        config = text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())
        steps[path.parent.name] = [step.model_name for step in config.ensemble_scheduling.step]
    assert steps["both"] == ["both_preprocess", "both_exit"]
    assert steps["both_full"] == ["both_preprocess", "both_plain", "both_aged", "both_vote"]
    assert "both_preprocess" not in steps.get("both_bag", [])


@pytest.mark.parametrize(
    ("model", "was", "becomes", "message"),
    [
        ("both_stream", "decoupled: true", "decoupled: false", "sends several responses for a request"),
        ("both_stream", '"both_exit"', '"both"', "names 'both', which takes no STREAM"),
        ("both_exit", "optional: true", "optional: false", "is not optional"),
    ],
)
def test_a_stream_that_cannot_work_is_found_by_the_check(exported, tmp_path, model, was, becomes, message) -> None:
    repository = shutil.copytree(exported.output, tmp_path / "repository")
    config = repository / model / "config.pbtxt"
    assert was in config.read_text()
    config.write_text(config.read_text().replace(was, becomes, 1))
    assert any(message in str(problem) for problem in check_repository(repository).problems)


@pytest.fixture(scope="module")
def server(triton: None, exported: ExportReport) -> Iterator[Server]:
    with serve(exported.output) as running:
        yield running


def runs(server: Server) -> int:
    """How often the preprocessing has run."""
    with grpc.InferenceServerClient(server.grpc_url) as client:
        (statistics,) = client.get_inference_statistics("both_preprocess").model_stats
    return int(statistics.execution_count)


@pytest.mark.triton
def test_a_server_runs_it_once_for_each_request(server: Server, exported: ExportReport) -> None:
    rows = inputs(3, 7)
    expected = whole_vote(exported.output.parent, rows)
    before = runs(server)  # to warm up
    for model in ("both", "both_full"):
        with Client(f"grpc://{server.grpc_url}", model) as client:
            full = client.infer(rows, RequestOptions(exit="never"))
        np.testing.assert_allclose(full.probabilities, expected, rtol=1e-3, atol=1e-5)
        if model == "both":  # the wish has reached the controller, past the first step
            assert set(full.exits) == {len(exported.manifest.exits) - 1}
    assert runs(server) - before == 2


@pytest.mark.triton
def test_a_stream_is_scaled_too(server: Server, exported: ExportReport) -> None:
    rows = inputs(4, 7)
    with Client(f"grpc://{server.grpc_url}", "both") as client:
        parts = list(client.stream(rows, RequestOptions(exit="never")))
    order = np.argsort(np.concatenate([part.rows for part in parts]))
    votes = np.concatenate([part.answers.probabilities for part in parts])[order]
    np.testing.assert_allclose(votes, whole_vote(exported.output.parent, rows), rtol=1e-3, atol=1e-5)


def test_samples_that_it_cannot_take_are_refused(tmp_path: Path) -> None:
    bag = shared_bag(tmp_path, "engine", {"IMAGE": noise_rows(60, 0)})
    with pytest.raises(ConfigError, match=r"bag\.toml: preprocess: .*scale\.onnx: input 'PIXELS': .* only \['IMAGE'\]"):
        export_bag(bag, tmp_path / "repository")


def test_rows_that_it_melts_into_one_are_refused(tmp_path: Path) -> None:
    bag = shared_bag(tmp_path, "engine")
    net = Net(0, name="AGE")
    net.save(tmp_path / "scale.onnx", net.node("ReduceMean", net.input, net.constant(np.array([0])), keepdims=1))
    np.savez(tmp_path / "samples.npz", AGE=noise_rows(60, 0))
    with pytest.raises(ConfigError, match=r"preprocess: .*scale\.onnx: output '.*' has no row for each row in; export"):
        export_bag(bag, tmp_path / "repository")


def test_a_missing_file_is_named_with_its_key(tmp_path: Path) -> None:
    bag = shared_bag(tmp_path, "engine")
    (tmp_path / "scale.onnx").unlink()
    with pytest.raises(ConfigError, match=r"bag\.toml: preprocess: .*scale\.onnx: no such file"):
        export_bag(bag, tmp_path / "repository")


def test_bench_refuses_a_bag_whose_members_take_other_inputs(
    exported: ExportReport, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = str(exported.output.parent / "samples.npz")
    assert main(["bench", str(exported.output), "--input", samples]) == ConfigError.exit_code
    assert "bag both has preprocessing that its members share" in capsys.readouterr().err
