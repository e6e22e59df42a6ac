"""The examples do what they say, against the real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from exeunt.serving.pip_server import Server
from tests.export_graphs import noise_rows

pytestmark = pytest.mark.triton
EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    np.save(tmp_path / "rows.npy", noise_rows(30, 3, 16))
    return tmp_path / "rows.npy"


def run(example: str, *args: str) -> str:
    line = [sys.executable, str(EXAMPLES / example), *args]
    return subprocess.run(line, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_first_example_asks(tiny_server: Server, rows_file: Path, protocol: str) -> None:
    url = tiny_server.http_url if protocol == "http" else tiny_server.grpc_url
    told = run("ask.py", f"{protocol}://{url}", "tiny", str(rows_file))
    assert "EARLY" in told and "answered in the order" in told


def test_the_second_example_loads_and_draws(tiny_server: Server, rows_file: Path) -> None:
    picture = rows_file.with_name("load.png")
    told = run("load.py", f"grpc://{tiny_server.grpc_url}", "tiny", str(rows_file), str(picture))
    assert "tiny_full" in told
    assert picture.read_bytes().startswith(b"\x89PNG")
