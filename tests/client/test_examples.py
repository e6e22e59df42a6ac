"""The examples do what they say, against the real server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from exeunt.contract import Reason
from exeunt.serving.pip_server import Server
from tests.export.graphs import noise_rows
from tests.places import ROOT

pytestmark = pytest.mark.triton
EXAMPLES = ROOT / "examples"


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
    output = run("ask.py", f"{protocol}://{url}", "tiny", str(rows_file))
    reasons = "|".join(reason.name for reason in Reason)  # on a busy machine a later exit's vote may overtake
    assert re.fullmatch(
        rf"one row:  \d, left at exit \d \(({reasons})\), risk \d\.\d{{4}}\n"
        r"full vote of four: \[('\d'(, )?){4}\]\n"
        r"careful:  exits \[(\d(, )?){4}\], risks \[(\d\.\d+(, )?){4}\]\n"
        r"answered in the order \[(\d(, )?){8}\]\n",
        output,
    )


def test_the_second_example_loads_and_draws(tiny_server: Server, rows_file: Path) -> None:
    picture = rows_file.with_name("load.png")
    output = run("load.py", f"grpc://{tiny_server.grpc_url}", "tiny", str(rows_file), str(picture))
    assert "tiny_full" in output
    assert picture.read_bytes().startswith(b"\x89PNG")
