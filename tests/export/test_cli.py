from __future__ import annotations

import json
from pathlib import Path

import pytest

from exeunt.cli.main import main
from tests.export.graphs import residual_net, two_cell_net
from tests.export.tiny import tiny_bag


def test_export_writes_a_repository_and_tells_about_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = tiny_bag(tmp_path, members=1)
    assert main(["export", str(bag), "-o", str(tmp_path / "models"), "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert (tmp_path / "models" / "tiny" / "config.pbtxt").exists()
    assert table["parts"] == {"ramps": 120, "calibration": 84, "report": 36}


def test_export_says_in_one_line_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "none.toml"), "-o", str(tmp_path / "models")]) == 78
    assert "none.toml: no such file" in capsys.readouterr().err.splitlines()[-1]


def test_inspect_lists_width_bytes_and_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(residual_net(tmp_path / "m.onnx"))]) == 0
    first, header, *rows = capsys.readouterr().out.splitlines()
    assert "8 classes" in first
    assert header.split()[:4] == ["share", "width", "bytes", "after"]
    assert len(rows) > 5 and all("%" in row and "float32" in row for row in rows)


def test_inspect_as_json_lists_every_boundary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(two_cell_net(tmp_path / "m.onnx")), "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert {"after", "width", "bytes_per_row", "share", "usable"} <= set(table["boundaries"][0])
    assert max(item["width"] for item in table["boundaries"]) >= 2


def test_inspect_refuses_what_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.onnx").write_text("no", encoding="utf-8")
    assert main(["inspect", str(tmp_path / "m.onnx")]) == 78
    assert "not an ONNX model" in capsys.readouterr().err
