"""Members whose weights lie in a file beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from benchmarks import export_nets
from exeunt.engine.sessions import WEIGHTS_SUFFIX
from exeunt.errors import ConfigError
from exeunt.serving.checks.repository import check_repository
from exeunt_export import onnxfiles
from exeunt_export.export_bag import export_bag
from exeunt_export.readers.graph import load_member
from tests.export.graphs import noise_rows
from tests.export.tiny import SIDE, tiny_bag
from tests.triton.calls import vote_offline

ROWS = noise_rows(7, 3, SIDE)


def put_outside(path: Path) -> Path:
    """Move the larger weights of a model into a file beside it; that file."""
    model = ir.load(path)
    outside = [value for value in model.graph.initializers.values() if value.const_value.nbytes > 1000]
    ir.save(model, path, external_data=f"{path.name}.weights", size_threshold_bytes=1000)
    data = path.with_name(f"{path.name}.weights")
    assert outside and data.stat().st_size >= sum(value.const_value.nbytes for value in outside)
    return data


def scores_of(path: Path) -> np.ndarray:
    scores = ort.InferenceSession(path).run(None, {"IMAGE": ROWS})[0]
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("mode", ["ensemble", "engine"])
def test_segments_carry_weights_that_lay_beside_the_member(tmp_path: Path, mode: str) -> None:
    bag = tiny_bag(tmp_path, mode=mode, members=1)
    data = put_outside(tmp_path / "a.onnx")
    expected = scores_of(tmp_path / "a.onnx")
    report = export_bag(bag, tmp_path / "repository")
    data.unlink()
    (tmp_path / "repository").rename(tmp_path / "elsewhere")
    assert report.worst_difference["a"] <= 1e-4 and report.manifest.members[0].depth > 1
    assert check_repository(tmp_path / "elsewhere").problems == ()
    last = len(report.manifest.exits) - 1
    np.testing.assert_allclose(vote_offline(tmp_path / "elsewhere", last, ROWS), expected, rtol=1e-4, atol=1e-5)


def test_weights_that_are_too_large_for_one_file_lie_beside_again(tmp_path: Path) -> None:
    tiny_bag(tmp_path, members=1)
    put_outside(tmp_path / "a.onnx")
    member = load_member("a", tmp_path / "a.onnx", {"IMAGE": ROWS})
    copy = tmp_path / "copy" / "model.onnx"
    onnxfiles.save(member.model, copy, inline_bytes=0)
    assert copy.with_name("model.onnx.data").stat().st_size > 1000
    scores = ort.InferenceSession(copy).run(None, {"IMAGE": ROWS})[0]
    np.testing.assert_allclose(scores, scores_of(tmp_path / "a.onnx"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("remaining_bytes", "why"), [(None, "No such file"), (500, "smaller than requested"), (0, "empty")]
)
def test_weights_that_are_not_there_are_refused(tmp_path: Path, remaining_bytes: int | None, why: str) -> None:
    tiny_bag(tmp_path, members=1)
    data = put_outside(tmp_path / "a.onnx")
    content = data.read_bytes()[:remaining_bytes]
    data.unlink()
    if remaining_bytes is not None:
        data.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"a\.onnx: weights '.*' cannot be read from .*a\.onnx\.weights: .*{why}"):
        load_member("a", tmp_path / "a.onnx", {"IMAGE": ROWS})


@pytest.mark.parametrize("mode", ["ensemble", "engine"])
def test_weights_of_some_megabytes_lie_beside_their_segments_and_are_mapped(tmp_path: Path, mode: str) -> None:
    ir.save(export_nets.dense(0, 4, layers=4), tmp_path / "a.onnx")
    rows = np.random.default_rng(0).normal(size=(60, 1, export_nets.SIDE, export_nets.SIDE)).astype(np.float32)
    np.save(tmp_path / "samples.npy", rows)
    lines = ['name = "large"', f'mode = "{mode}"', 'samples = "samples.npy"', "[[member]]", 'name = "a"']
    lines += ['file = "a.onnx"', "[cuts]", "exits = 2", "ramp_budget = 100", 'times = "counted"']
    (tmp_path / "bag.toml").write_text("\n".join([*lines, "[serving]", "max_batch_size = 4"]))
    export_bag(tmp_path / "bag.toml", tmp_path / "repository")
    weights = [path for path in (tmp_path / "repository").rglob(f"*{WEIGHTS_SUFFIX}")]
    assert sum(path.stat().st_size for path in weights) >= 4 * 2**22
    assert all(path.with_suffix("").stat().st_size < 2**16 for path in weights)
    assert check_repository(tmp_path / "repository").problems == ()
