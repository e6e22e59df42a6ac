import json
import signal
import subprocess
import sys
import time

import pytest

from exeunt.cli.main import main
from exeunt.serving.processes import members, tied_to_us
from tests.serving.repository import one_model


@pytest.fixture
def small(tmp_path):
    return one_model(tmp_path / "repository")


def start(*args, ignored=None):
    line = [sys.executable, "-m", "exeunt.cli.main", "serve", *map(str, args)]
    if ignored is not None:
        line = ["sh", "-c", f'trap "" {ignored.value}; exec "$@"', "sh", *line]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_docker_runtime_is_refused_with_what_to_do(hand_made, capsys):
    assert main(["serve", str(hand_made), "--runtime", "docker"]) == 78
    assert "use --runtime pip" in capsys.readouterr().err


def test_a_folder_without_models_is_refused(tmp_path, capsys):
    assert main(["serve", str(tmp_path)]) == 78
    assert "holds no model" in capsys.readouterr().err


@pytest.mark.triton
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_stops_and_leaves_no_process(triton, small, tmp_path, stop):
    serving = start(small, "--json", "--state-dir", tmp_path / "state")
    ready = json.loads(serving.stdout.readline())
    assert ready["status"] == "ready" and ready["models"] == ["s1"]
    serving.send_signal(stop)
    output, errors = serving.communicate(timeout=60)
    assert json.loads(output) == {"status": "stopped", "drained": True}
    assert (serving.returncode, errors) == (0, "")
    assert members(ready["pid"]) == []


@pytest.mark.triton
def test_the_background_job_of_a_script_stops_on_sigint_too(triton, small, tmp_path):
    serving = start(small, "--json", "--state-dir", tmp_path / "state", ignored=signal.SIGINT)
    assert json.loads(serving.stdout.readline())["status"] == "ready"
    serving.send_signal(signal.SIGINT)
    assert json.loads(serving.communicate(timeout=60)[0]) == {"status": "stopped", "drained": True}


@pytest.mark.triton
def test_under_nohup_a_server_outlives_its_terminal(triton, small, tmp_path):
    serving = start(small, "--json", "--state-dir", tmp_path / "state", ignored=signal.SIGHUP)
    ready = json.loads(serving.stdout.readline())
    serving.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        serving.wait(timeout=2)
    assert members(ready["pid"])
    serving.send_signal(signal.SIGTERM)
    assert json.loads(serving.communicate(timeout=60)[0]) == {"status": "stopped", "drained": True}


@pytest.mark.triton
def test_ctrl_c_during_the_start_leaves_no_process(triton, small, tmp_path):
    serving = start(small, "--state-dir", tmp_path / "state", "--log", tmp_path / "log")
    while not (tmp_path / "log").exists():
        time.sleep(0.01)
    serving.send_signal(signal.SIGINT)
    serving.communicate(timeout=60)
    assert serving.returncode == 130
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(small) not in listed


@pytest.mark.triton
def test_a_killed_command_takes_its_server_along(triton, small, tmp_path):
    assert tied_to_us(), "this machine's setpriv is too old for the test"
    serving = start(small, "--json", "--state-dir", tmp_path / "state")
    ready = json.loads(serving.stdout.readline())
    serving.kill()
    serving.communicate()
    end = time.monotonic() + 60
    while members(ready["pid"]) and time.monotonic() < end:
        time.sleep(0.05)
    assert members(ready["pid"]) == []
