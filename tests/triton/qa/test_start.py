"""C19, C20, C21, C23: files that are damaged when a server starts, too little shared memory, a state that is taken.

Plans of TensorRT for another GPU cannot be had here (docs/production.md says what was run where). A full disk and a
state that cannot be written are tests/hosting/test_restart.py's: this user may write everywhere.
"""

import shutil
import subprocess
import sys

import pytest

from exeunt.errors import ConfigError, ServingError
from exeunt.hosting.control import control_path
from exeunt.hosting.status import find_status
from exeunt.serving.pip_server import serve
from tests.triton.calls import ask, manifest_of
from tests.triton.qa.bag import ROWS, Served

pytestmark = pytest.mark.triton


@pytest.fixture
def copy(qa_repository, tmp_path):
    return shutil.copytree(qa_repository, tmp_path / "repository")


def segment_file(repository):
    (file,) = [
        *repository.glob("tiny_a_s1/1/model.onnx"),
        *repository.glob("tiny_exit/1/tiny_a_s1.onnx"),
    ]  # either mode
    return file


@pytest.mark.parametrize("keep", [0, 200])
def test_c19_a_damaged_model_stops_the_start_by_name(triton, copy, tmp_path, keep):
    file = segment_file(copy)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ServingError, match="tiny_a_s1"), serve(copy, log=tmp_path / "log"):
        pass


def test_c19_a_bad_config_stops_the_start_by_name(triton, copy, tmp_path):
    config = copy / "tiny_vote" / "config.pbtxt"
    config.write_text(config.read_text() + "\nno_such_field: 3\n")
    with pytest.raises((ServingError, ConfigError), match="tiny_vote"), serve(copy, log=tmp_path / "log"):
        pass


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"[" * 5000])
def test_c20_a_damaged_state_is_left_alone_and_said_and_the_server_answers(triton, qa_repository, tmp_path, content):
    state = tmp_path / "state"
    state.mkdir()
    (state / f"{manifest_of(qa_repository).content_hash}.npz").write_bytes(content)
    with serve(qa_repository, state_dir=state, log=tmp_path / "log") as server:
        assert Served(qa_repository, server).wrong(ask(server, "grpc", ROWS)) == []
    assert "learnt state not restored" in (tmp_path / "log").read_text(errors="replace")


@pytest.mark.parametrize("content", ["{", '{"schema_version": 99}', '{"schema_version": 1, "max_loss": 7}', "[" * 9000])
def test_c20_a_bad_control_file_changes_nothing_and_its_error_is_shown(served, content):
    path = control_path(served.server.state_dir, served.manifest.content_hash)
    try:
        path.write_text(content)
        wait_for(lambda: find_status(served.server.state_dir, "tiny").control_error)
        assert served.wrong(ask(served.server, "grpc", ROWS)) == []
    finally:
        path.unlink()
    wait_for(lambda: not find_status(served.server.state_dir, "tiny").control_error)


def test_c21_too_little_shared_memory_is_refused_before_the_start_with_what_to_do(qa_repository, tmp_path):
    line = [sys.executable, "-m", "exeunt.cli.main", "serve", str(qa_repository), "--state-dir", str(tmp_path)]
    script = 'mount -t tmpfs -o size=1m small /dev/shm && exec "$@"'
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *line],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "unshare" in run.stderr or "mount" in run.stderr.splitlines()[0]:
        pytest.skip(f"needs the right to mount: {run.stderr.strip()}")
    assert run.returncode == ConfigError.exit_code
    assert "/dev/shm" in run.stderr and "--shm-size=1g" in run.stderr


def test_c23_a_second_server_of_the_bag_is_kept_away_from_its_state(served):
    refusal = pytest.raises(ConfigError, match="another server of this bag uses this state_dir")
    with refusal, serve(served.repository, state_dir=served.server.state_dir):
        pass
    assert served.wrong(ask(served.server, "grpc", ROWS)) == []


def wait_for(happened):
    from benchmarks.stress.served import until

    until(happened, 60)
