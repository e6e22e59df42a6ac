"""The bag of an image and a text member of examples/, without a server and on the real one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnxruntime as ort
import pytest

pytest.importorskip("torch", reason="pip install 'exeunt[torch]'")

from examples.image_and_text import goods, write_bag
from exeunt.contract import exit_model
from exeunt.serving.checks.repository import check_repository
from exeunt.serving.pip_server import Server, serve
from exeunt_client import Client, RequestOptions
from exeunt_export.export_bag import export_bag
from exeunt_export.report.export_report import ExportReport
from tests.engine.desk import Desk


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    folder = tmp_path_factory.mktemp("goods")
    return export_bag(write_bag(folder, steps=60), folder / "model_repository")


def whole_vote(exported: ExportReport, rows: dict[str, np.ndarray]) -> np.ndarray:
    """Mean of the files that the operator gave, softmax and scaling done here; float32 [rows, classes]."""
    folder = exported.output.parent
    pixels = rows["IMAGE"].astype(np.float32) / np.float32(127.5) - 1
    picture = ort.InferenceSession(folder / "picture.onnx").run(None, {"pixels": pixels})[0]
    words = {"input_ids": rows["TOKENS"], "attention_mask": rows["MASK"]}
    description = ort.InferenceSession(folder / "description.onnx").run(None, words)[0]
    powers = [np.exp(item - item.max(axis=1, keepdims=True)) for item in (picture, description)]
    return np.asarray(sum(power / power.sum(axis=1, keepdims=True) for power in powers) / 2)


def test_the_public_inputs_are_those_of_the_bag_file(exported: ExportReport) -> None:
    items = [(input_.name, input_.dtype, input_.dims) for input_ in exported.manifest.inputs]
    assert items == [("IMAGE", "uint8", (1, 16, 16)), ("TOKENS", "int64", (12,)), ("MASK", "int64", (12,))]


def test_the_repository_passes_every_check(exported: ExportReport) -> None:
    assert check_repository(exported.output).problems == ()


def test_without_a_server_the_full_vote_is_that_of_the_operator_s_files(exported: ExportReport) -> None:
    rows, _ = goods(5, seed=9)
    folder = exported.output / exit_model("goods") / "1"
    with Desk(exported.manifest, folder, [0.0] * len(exported.manifest.exits)) as desk:
        desk.ask("a", rows)
        answer = desk.answers(1)["a"].answer
    np.testing.assert_allclose(answer.probabilities, whole_vote(exported, rows), rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def server(triton: None, exported: ExportReport) -> Iterator[Server]:
    with serve(exported.output) as running:
        yield running


@pytest.mark.triton
def test_on_the_server_the_full_vote_is_that_of_the_operator_s_files(server: Server, exported: ExportReport) -> None:
    rows, _ = goods(5, seed=9)
    expected = whole_vote(exported, rows)
    with Client(f"grpc://{server.grpc_url}", "goods") as client:
        full = client.infer(rows, RequestOptions(exit="never"))
        assert set(client.infer(rows).labels) <= {0, 1, 2, 3}
    np.testing.assert_allclose(full.probabilities, expected, rtol=1e-3, atol=1e-5)
    with Client(f"grpc://{server.grpc_url}", "goods_full") as client:
        np.testing.assert_allclose(client.infer(rows).probabilities, expected, rtol=1e-3, atol=1e-5)
