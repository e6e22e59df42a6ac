"""A start that a busy host spoilt is made again."""

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
SPOILT = """#!/bin/sh
echo x >> {starts}
if [ $(wc -l < {starts}) -le {spoilt} ]; then
    echo "terminate called after throwing an instance of '{aborted}'"
    kill -ABRT $$
fi
exec {binary} "$@"
"""


@pytest.fixture
def repository(triton, tmp_path):
    return export_bag(tiny_bag(tmp_path, mode="engine", members=1), tmp_path / "repository").output


def spoil(monkeypatch, tmp_path, spoilt):
    """Let so many starts be given up; the file that gets a line for each start."""
    wheel, starts, home = find_wheel(), tmp_path / "starts", tmp_path / "home"
    script = home / "bin" / "tritonserver"
    script.parent.mkdir(parents=True)
    for entry in wheel.home.iterdir():
        if entry.name != "bin":
            (home / entry.name).symlink_to(entry)
    text = SPOILT.format(
        starts=shlex.quote(str(starts)), spoilt=spoilt, aborted=ABORTED, binary=shlex.quote(str(wheel.binary))
    )
    script.write_text(text)
    script.chmod(0o755)
    monkeypatch.setattr(pip_server, "find_wheel", lambda: dataclasses.replace(wheel, home=home))
    return starts


def test_a_start_that_was_given_up_is_made_again_and_says_so(repository, tmp_path, monkeypatch, caplog):
    starts = spoil(monkeypatch, tmp_path, spoilt=2)
    with pip_server.serve(repository, state_dir=tmp_path / "state") as server:
        assert "tiny" in server.models
    assert len(starts.read_text().splitlines()) == 3
    assert caplog.text.count("is made again") == 2


def test_the_third_start_that_is_given_up_is_the_last(repository, tmp_path, monkeypatch):
    starts = spoil(monkeypatch, tmp_path, spoilt=3)
    with (
        pytest.raises(ServingError, match="gives up a backend process"),
        pip_server.serve(repository, state_dir=tmp_path / "state"),
    ):
        raise AssertionError("it must not become ready")
    assert len(starts.read_text().splitlines()) == 3
