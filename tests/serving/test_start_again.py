"""A start that failed because the host was busy is made again."""

import dataclasses
import shlex

import pytest

from exeunt.errors import ServingError
from exeunt.serving import pip_server
from exeunt.serving.backends import find_wheel
from exeunt.serving.server_log import ABORTED
from exeunt_export.export_bag import export_bag
from tests.export.tiny import tiny_bag

pytestmark = pytest.mark.triton
# the real server, but for starts that end as Triton 24.10 does when it gives up a backend's process
FAILING_SERVER = """#!/bin/sh
echo start >> {start_log}
if [ $(wc -l < {start_log}) -le {failures} ]; then
    echo "terminate called after throwing an instance of '{aborted}'"
    kill -ABRT $$
fi
exec {binary} "$@"
"""


@pytest.fixture
def repository(triton, tmp_path):
    return export_bag(tiny_bag(tmp_path, mode="engine", members=1), tmp_path / "repository").output


def let_starts_fail(monkeypatch, tmp_path, failures):
    """Let so many starts be given up; the file that gets a line for each start."""
    wheel, start_log, wheel_copy = find_wheel(), tmp_path / "starts", tmp_path / "wheel"
    server_script = wheel_copy / "bin" / "tritonserver"
    server_script.parent.mkdir(parents=True)
    for wheel_entry in wheel.home.iterdir():
        if wheel_entry.name != "bin":
            (wheel_copy / wheel_entry.name).symlink_to(wheel_entry)
    paths = {"start_log": shlex.quote(str(start_log)), "binary": shlex.quote(str(wheel.binary))}
    server_script.write_text(FAILING_SERVER.format(failures=failures, aborted=ABORTED, **paths))
    server_script.chmod(0o755)
    monkeypatch.setattr(pip_server, "find_wheel", lambda: dataclasses.replace(wheel, home=wheel_copy))
    return start_log


def test_a_start_that_was_given_up_is_made_again_and_says_so(repository, tmp_path, monkeypatch, caplog):
    start_log = let_starts_fail(monkeypatch, tmp_path, failures=2)
    with pip_server.serve(repository, state_dir=tmp_path / "state") as server:
        assert "tiny" in server.models
    assert len(start_log.read_text().splitlines()) == 3
    assert caplog.text.count("is made again") == 2


def test_the_third_start_that_is_given_up_is_the_last(repository, tmp_path, monkeypatch):
    start_log = let_starts_fail(monkeypatch, tmp_path, failures=3)
    with (
        pytest.raises(ServingError, match="gives up a backend process"),
        pip_server.serve(repository, state_dir=tmp_path / "state"),
    ):
        raise AssertionError("it must not become ready")
    assert len(start_log.read_text().splitlines()) == 3
