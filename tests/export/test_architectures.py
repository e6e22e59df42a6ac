"""Real architectures by real exporters: each is cut, verified, given ramps, and served by the real Triton."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tritonclient import http
from tritonclient.utils import np_to_triton_dtype

from exeunt.contract import Reason
from exeunt.serving.pip_server import Server, serve
from exeunt_export.onnxfiles import open_in_memory
from exeunt_export.readers.graph import load_member
from exeunt_export.report.export_report import ExportReport
from tests.architectures.all_architectures import ENTRIES, Entry, samples
from tests.architectures.table import export_entry
from tests.places import ROOT
from tests.triton.calls import vote_offline

pytestmark = pytest.mark.slow

pytest.importorskip("skl2onnx", reason="pip install 'exeunt[dev]'")
pytest.importorskip("transformers", reason="pip install 'exeunt[dev]'")
EACH = pytest.mark.parametrize("entry", ENTRIES, ids=lambda item: item.name)
Export = Callable[[Entry], tuple[Path, ExportReport]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Exports an entry as a bag of its own, once: its ONNX file and the report."""
    folder = tmp_path_factory.mktemp("architectures")
    exports: dict[str, tuple[Path, ExportReport]] = {}

    def export(entry: Entry) -> tuple[Path, ExportReport]:
        if entry.name not in exports:
            exports[entry.name] = export_entry(entry, folder)
        return exports[entry.name]

    return export


@pytest.fixture(scope="module")
def server(triton: None, exported: Export, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server of all entries."""
    together = tmp_path_factory.mktemp("together")
    for entry in ENTRIES:
        for model in (exported(entry)[1].output).iterdir():
            if model.is_dir():
                shutil.copytree(model, together / model.name)
    with serve(together) as running:
        yield running


def test_the_document_lists_every_entry() -> None:
    document = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    items = [line.split("|")[1].strip(" `") for line in document.splitlines() if line.startswith("| `")]
    assert [name for name in items if name in {entry.name for entry in ENTRIES}] == [entry.name for entry in ENTRIES]


@EACH
def test_the_segments_in_sequence_equal_the_member(exported: Export, entry: Entry) -> None:
    report = exported(entry)[1]
    assert report.worst_difference["m"] <= (0.05 if entry.weights == "int8" else 1e-4)


@EACH
def test_it_is_cut_within_its_width_and_every_cut_has_a_ramp(exported: Export, entry: Entry) -> None:
    report = exported(entry)[1]
    assert bool(report.cuts) is entry.cuts
    assert max((cut.width for cut in report.cuts), default=entry.width) == entry.width
    assert all(cut.features > 0 and 0 <= cut.agreement <= 1 for cut in report.cuts)


@pytest.mark.parametrize("entry", [item for item in ENTRIES if item.exits], ids=lambda item: item.name)
def test_votes_at_own_exits_are_the_file_s_outputs(exported: Export, entry: Entry) -> None:
    file, report = exported(entry)
    rows = {name: row[:7] for name, row in _rows(entry).items()}
    assert [exit_.depths for exit_ in report.manifest.exits] == [(number,) for number in range(1, len(entry.exits) + 2)]
    for number, output in enumerate((*entry.exits, "scores")):
        votes = vote_offline(report.output, number, rows, entry.name)
        expected = _probabilities(file, dataclasses.replace(entry, output=output), rows)
        np.testing.assert_allclose(votes, expected, rtol=1e-4, atol=1e-5)


@EACH
@pytest.mark.triton
def test_the_server_says_what_the_file_says(server: Server, exported: Export, entry: Entry) -> None:
    table = {name: row[:7] for name, row in _rows(entry).items()}
    expected = _probabilities(exported(entry)[0], entry, table)
    with http.InferenceServerClient(server.http_url) as client:
        inputs = []
        for name, item in table.items():
            inputs.append(http.InferInput(name, item.shape, np_to_triton_dtype(item.dtype)))
            inputs[-1].set_data_from_numpy(item)
        full = client.infer(entry.name, inputs, parameters={"exit": "never"})
        early = client.infer(entry.name, inputs)
    atol = {"float16": 1e-3, "int8": 0.05}.get(entry.weights, 1e-4)  # the file itself rounds its numbers
    np.testing.assert_allclose(full.as_numpy("PROBABILITIES"), expected, rtol=1e-3, atol=atol)
    assert set(early.as_numpy("REASON")[:, 0]) <= {Reason.FULL, Reason.EARLY, Reason.LOSSLESS}
    assert (early.as_numpy("LABEL") >= 0).all()


def _rows(entry: Entry) -> dict[str, np.ndarray]:
    """The public inputs: without what the file takes as constants."""
    every = samples(entry.kind)
    return {name: item for name, item in every.items() if len(item) > 1}


def _probabilities(file: Path, entry: Entry, rows: dict[str, np.ndarray]) -> np.ndarray:
    """What the file itself says, in as many rows as it takes; bfloat16, which the CPU cannot run, as it is read."""
    constants = {name: sample for name, sample in samples(entry.kind).items() if name not in rows}
    if entry.weights == "bfloat16":
        session = open_in_memory(load_member("m", file, rows).model, "bfloat16")
    else:
        session = onnxruntime.InferenceSession(file)
    input_shapes = {input_.name: input_.shape for input_ in session.get_inputs()}
    if len(input_shapes) == 1:
        rows = dict(zip(input_shapes, rows.values(), strict=True))
    unread = {
        name: np.ones(dims, np.float32) for name, dims in input_shapes.items() if name not in {**rows, **constants}
    }
    output_names = [entry.output or session.get_outputs()[0].name]
    count = len(next(iter(rows.values())))
    parts = [slice(None)] if entry.batch == "symbolic" else [slice(n, n + 1) for n in range(count)]
    scores = []
    for part in parts:
        table = {name: row[part] for name, row in rows.items()}
        table = {name: item[0] for name, item in table.items()} if entry.batch == "missing" else table
        (values,) = session.run(output_names, {**table, **constants, **unread})
        values = np.array([list(item.values()) for item in values]) if isinstance(values, list) else values  # ZipMap
        scores.append(values.reshape(-1, values.shape[-1]).astype(np.float64))
    joined = np.concatenate(scores)
    if np.allclose(joined.sum(axis=1), 1, atol=1e-3) and (joined >= 0).all():
        return joined
    powers = np.exp(joined - joined.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
