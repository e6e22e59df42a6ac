"""Bags of 1 to 24 members, of 2 to 1000 classes, with up to 12 exits; and the outputs for many classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from exeunt.deciding import votes
from exeunt.deciding.request import AnswerArrays
from exeunt.errors import ConfigError
from exeunt.hosting.tensors import answer_tensors
from exeunt.manifest import Manifest
from exeunt.serving.checks.repository import check_repository
from exeunt.serving.pip_server import Server, serve
from exeunt_client import Client, RequestOptions
from exeunt_export.export_bag import export_bag
from exeunt_export.report.export_report import ExportReport
from tests.export.graphs import Net, noise_rows

ROWS = 60


def aged_net(path: Path, seed: int, classes: int, blocks: int = 1) -> Path:
    """A small CNN of an image and an age, one number per row; of two classes it gives one logit."""
    net = Net(seed, ("rows", 1, 8, 8))
    age = ir.Value(name="AGE", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["rows"]))
    net.graph.inputs.append(age)
    x = net.conv(net.input, 1, 8)
    for _ in range(blocks):
        x = net.node("Relu", net.node("InstanceNormalization", net.residual(x, 8), *_unit(net, 8)))
    scores = net.logits(net.pool(x), 8, 1 if classes == 2 else classes, 4)
    return net.save(path, net.node("Add", scores, net.node("Unsqueeze", age, net.constant(np.array([1])))))


def _unit(net: Net, channels: int) -> tuple[ir.Value, ir.Value]:
    return net.constant(np.ones(channels, np.float32)), net.constant(np.zeros(channels, np.float32))


def inputs(rows: int, seed: int) -> dict[str, np.ndarray]:
    age = np.random.default_rng(seed).normal(size=rows).astype(np.float32)
    return {"IMAGE": noise_rows(rows, seed, 8), "AGE": age}


def bag_of(
    folder: Path,
    members: int,
    classes: int,
    mode: str,
    *,
    exits: int = 1,
    blocks: int = 1,
    batch: int = 2,
    serving: str = "",
) -> Path:
    np.savez(folder / "samples.npz", **inputs(ROWS, 0))
    lines = ['name = "wide"', 'samples = "samples.npz"', f'mode = "{mode}"']
    for number in range(members):
        file = aged_net(folder / f"m{number}.onnx", number, classes, blocks)
        lines += ["[[member]]", f'name = "m{number}"', f'file = "{file.name}"']
    lines += [
        "[cuts]",
        f"exits = {exits}",
        "ramp_budget = 100",
        'times = "counted"',
        "[serving]",
        f"max_batch_size = {batch}",
        serving,
    ]
    (folder / "bag.toml").write_text("\n".join(lines), encoding="utf-8")
    return folder / "bag.toml"


def whole_vote(folder: Path, members: int, rows: dict[str, np.ndarray]) -> np.ndarray:
    """The mean of the operator's own files, float32 [rows, classes]."""
    probabilities = []
    for number in range(members):
        scores = ort.InferenceSession(folder / f"m{number}.onnx").run(None, rows)[0]
        if scores.shape[1] == 1:
            scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities.append(powers / powers.sum(axis=1, keepdims=True))
    return np.asarray(np.mean(probabilities, axis=0))


@given(arrays.arrays(np.float32, (3, 7), elements=st.sampled_from([0.0, 0.125, 0.25, 0.5])), st.integers(1, 7))
def test_the_top_is_the_order_of_the_vote_with_its_label_first(probabilities: np.ndarray, top: int) -> None:
    label = votes.labels(probabilities)
    nought = np.zeros(3, np.int32)
    tensors = answer_tensors(AnswerArrays(probabilities, label, nought, nought, nought.astype(np.float32)), top)
    assert (tensors["TOP_LABELS"].shape, tensors["TOP_LABELS"].dtype) == ((3, top), np.int64)
    assert tensors["TOP_PROBABILITIES"].dtype == np.float32
    np.testing.assert_array_equal(tensors["TOP_LABELS"][:, 0], label)
    np.testing.assert_array_equal(tensors["TOP_PROBABILITIES"], -np.sort(-probabilities, axis=1)[:, :top])


def test_without_a_finite_vote_there_is_no_top() -> None:
    nought = np.zeros(1, np.int32)
    lost = AnswerArrays(np.full((1, 3), np.nan, np.float32), np.array([-1]), nought, nought, nought.astype(np.float32))
    assert answer_tensors(lost, 2)["TOP_LABELS"].tolist() == [[-1, -1]]


def test_a_top_of_more_labels_than_classes_is_refused(tmp_path: Path) -> None:
    bag = bag_of(tmp_path, 1, 3, "engine", serving="top = 4")
    with pytest.raises(ConfigError, match=r"bag\.toml: \[serving\]: top = 4; allowed: 0 to 3, the number of classes"):
        export_bag(bag, tmp_path / "repository")


@pytest.fixture(scope="module", params=[(2, "ensemble", 2), (1000, "engine", 5)], ids=["2 classes", "1000 classes"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    classes, mode, top = request.param
    folder = tmp_path_factory.mktemp("wide")
    return export_bag(bag_of(folder, 2, classes, mode, serving=f"top = {top}"), folder / "repository")


def test_what_is_told_of_a_vote_does_not_make_another_bag(exported: ExportReport) -> None:
    manifest = exported.manifest
    assert dataclasses.replace(manifest, top=0).content_hash == manifest.content_hash
    assert Manifest.load(exported.output / "wide_exit" / "1" / "manifest.json") == manifest


def test_ramps_of_many_classes_stay_small(exported: ExportReport) -> None:
    assert exported.cuts
    assert all(4 * cut.features * exported.manifest.classes <= 8 << 20 for cut in exported.cuts)
    assert check_repository(exported.output).problems == ()


@pytest.fixture(scope="module")
def server(triton: None, exported: ExportReport) -> Iterator[Server]:
    with serve(exported.output) as running:
        yield running


@pytest.mark.triton
def test_a_server_tells_the_top_of_the_vote(server: Server, exported: ExportReport) -> None:
    rows, top = inputs(2, 7), exported.manifest.top
    expected = whole_vote(exported.output.parent, 2, rows)
    columns = {**rows, "AGE": rows["AGE"][:, None]}  # one number per row is a column to clients
    with Client(f"grpc://{server.grpc_url}", "wide") as client:
        full = client.infer(columns, RequestOptions(exit="never"))
    np.testing.assert_allclose(full.probabilities, expected, rtol=1e-3, atol=1e-5)
    assert full.top_labels is not None and full.top_labels.shape == (2, top)
    np.testing.assert_array_equal(full.top_labels[:, 0], full.labels)
    top_probabilities = np.take_along_axis(full.probabilities, full.top_labels, axis=1)
    np.testing.assert_array_equal(full.top_probabilities, top_probabilities)
    np.testing.assert_allclose(full[1].top_probabilities, -np.sort(-expected[1])[:top], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("members", [1, 24])
def test_bags_of_one_and_of_many_members_are_exported_whole(tmp_path: Path, members: int) -> None:
    bag = bag_of(tmp_path, members, 3, "engine", batch=1, serving="baseline = false")
    report = export_bag(bag, tmp_path / "repository")
    assert len(report.manifest.members) == members
    assert report.manifest.exits[-1].depths == tuple(member.depth for member in report.manifest.members)
    assert check_repository(tmp_path / "repository").problems == ()


def test_twelve_exits_can_be_asked_for(tmp_path: Path) -> None:
    bag = bag_of(tmp_path, 1, 3, "ensemble", exits=12, blocks=14, batch=1, serving="baseline = false")
    report = export_bag(bag, tmp_path / "repository")
    # how many of them it takes depends on measured times; test_export_own_exits.py has exactly twelve
    assert 2 <= len(report.manifest.exits) - 1 <= 12
    assert check_repository(tmp_path / "repository").problems == ()
