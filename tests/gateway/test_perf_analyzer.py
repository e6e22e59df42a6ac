"""Triton's own load generator works through the gateway, over both protocols."""

import json
import subprocess

import pytest

from exeunt.errors import ConfigError
from exeunt.measuring import perf_binary
from tests.export.graphs import noise_rows

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def analyzer():
    try:
        return perf_binary.find()
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_perf_analyzer_measures_the_public_model(analyzer, gateway, tmp_path, protocol):
    table = {
        "data": [{"IMAGE": {"content": row.ravel().tolist(), "shape": [1, 16, 16]}} for row in noise_rows(4, 5, 16)]
    }
    (tmp_path / "rows.json").write_text(json.dumps(table))
    line = [analyzer.binary, "-m", "tiny", "-i", protocol, "-u", getattr(gateway, f"{protocol}_url"), "--async"]
    line += ["--input-data", tmp_path / "rows.json", "--concurrency-range", "4", "--request-count", "100"]
    ended = subprocess.run(list(map(str, line)), env=analyzer.environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Inferences/Second vs. Client" in ended.stdout and "Failed" not in ended.stdout
