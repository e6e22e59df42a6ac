"""Ramps that learn in service, on the real server."""

import json
import time
import urllib.request

import pytest

from exeunt.hosting.status import find_status
from exeunt.records.record import read_record
from exeunt.serving.pip_server import serve
from exeunt_export.export_bag import export_bag
from tests.export.tiny import tiny_bag
from tests.hosting.learning_server import SETTINGS, stream
from tests.triton.calls import ask, await_idle

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learning")
    records = f"shadow_share = 1.0\nrecords_dir = {json.dumps(str(folder / 'records'))}\n"
    export_bag(tiny_bag(folder, mode="engine", members=2, exit_table=f"{SETTINGS}\n{records}"), folder / "repository")
    return folder / "repository"


def test_ramps_learn_in_the_server_and_metrics_status_and_record_say_so(triton, repository, tmp_path):
    with serve(repository, state_dir=tmp_path) as server:
        version, end_s = 0, time.monotonic() + 120
        while not version:
            assert time.monotonic() < end_s, find_status(tmp_path, "tiny").metrics
            for number in range(8):
                ask(server, "grpc", stream(16, number))
            version = find_status(tmp_path, "tiny").metrics["ramps_version"]
        for number in range(20):
            ask(server, "grpc", stream(16, 1000 + number))
        await_idle(server)
        time.sleep(2.0)  # metrics follow about once a second
        text = urllib.request.urlopen(server.metrics_url).read().decode()
    assert any(line.startswith("exeunt_ramps{") and 'name="version"' in line for line in text.splitlines())
    record = read_record(repository.parent / "records")
    assert {0, int(version)} <= set(record.decided.heads_version.tolist())
