"""A server that loses a process is whole again by itself; a supervisor that is killed leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tritonclient import grpc

from exeunt.serving.processes import members
from exeunt_export.export_bag import export_bag
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag

pytestmark = pytest.mark.triton
ROWS = noise_rows(2, 5, 16)
ANSWERED_WITHIN_S, WHOLE_WITHIN_S = 15.0, 60.0


@pytest.fixture(scope="module", params=["ensemble", "engine"])
def repository(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    export_bag(tiny_bag(folder, mode=request.param, members=2, exit_table='tuner = "static"'), folder / "repository")
    return folder / "repository"


class Serving:
    """`exeunt serve` as a process, as a person starts it."""

    def __init__(self, repository, folder):
        line = [sys.executable, "-m", "exeunt.cli.main", "serve", str(repository), "--json"]
        line += ["--state-dir", str(folder / "state"), "--log", str(folder / "log")]
        self.errors = (folder / "errors").open("w+")
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.ready = json.loads(self.process.stdout.readline())

    def pids(self, command):
        """Processes of the server whose command line holds a text."""
        found = []
        for pid in members(self.ready["pid"]):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
            if command in words.split("--id=")[0]:
                found.append(pid)
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=120)
        self.errors.close()


class Load:
    """Callers who ask all the time; how long each waited for an answer or an error, and what was wrong."""

    def __init__(self, url, callers=4):
        self.waits_s, self.wrong, self.last_good_s = [], [], 0.0
        self.stop = threading.Event()
        self.url, self.expected = url, None
        self.threads = [threading.Thread(target=self.call) for _ in range(callers)]

    def call(self):
        while not self.stop.is_set():
            start_s = time.monotonic()
            try:
                label = ask(self.url)
            except grpc.InferenceServerException:
                label = None
                time.sleep(0.05)
            self.waits_s.append(time.monotonic() - start_s)
            if label is not None:
                if label != self.expected:
                    self.wrong.append(label)
                self.last_good_s = time.monotonic()

    def __enter__(self):
        self.expected = ask(self.url)
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(60)


def ask(url):
    with grpc.InferenceServerClient(url) as client:
        image = grpc.InferInput("IMAGE", list(ROWS.shape), "FP32")
        image.set_data_from_numpy(ROWS)
        result = client.infer("tiny", [image], parameters={"exit": "never"}, client_timeout=40)
        return result.as_numpy("LABEL").ravel().tolist()


VICTIMS = {  # part of the command line -> what the message must say of it
    "tiny_exit/": "backend process of model tiny_exit",
    "tiny_vote/": "backend process of model tiny_vote",
    "/tiny_a": "backend process of model tiny_a",  # a segment; in engine mode a member of the plain ensemble
    "/bin/tritonserver": "tritonserver",
}


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_killed_process_is_named_and_the_server_is_whole_again_on_the_same_ports(repository, tmp_path, victim):
    with Serving(repository, tmp_path) as serving, Load(serving.ready["grpc"]) as load:
        until(lambda: len(load.waits_s) > 20, 60)
        killed_s = time.monotonic()
        pids = serving.pids(victim)
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        again = json.loads(serving.process.stdout.readline())
        assert again["status"] == "ready" and again["grpc"] == serving.ready["grpc"]
        until(lambda: load.last_good_s > killed_s + 1.0, 60)
        assert time.monotonic() - killed_s < WHOLE_WITHIN_S
        assert max(load.waits_s) < ANSWERED_WITHIN_S
        assert not load.wrong
        serving.errors.seek(0)
        text = serving.errors.read()
        assert VICTIMS[victim] in text
    assert members(again["pid"]) == []


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_process_paused_for_five_seconds_costs_nobody_more_than_a_wait(repository, tmp_path, victim):
    with Serving(repository, tmp_path) as serving, Load(serving.ready["grpc"]) as load:
        until(lambda: len(load.waits_s) > 20, 60)
        pids = serving.pids(victim)
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(5.0)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        went_on_s = time.monotonic()
        # Triton may give the paused process up: then the server is started again
        until(lambda: load.last_good_s > went_on_s + 0.5, WHOLE_WITHIN_S)
        assert max(load.waits_s) < ANSWERED_WITHIN_S and not load.wrong


def test_a_supervisor_that_is_killed_leaves_no_process_and_no_shared_memory(repository, tmp_path):
    with Serving(repository, tmp_path) as serving, Load(serving.ready["grpc"]) as load:
        until(lambda: len(load.waits_s) > 20, 60)
        name = next(
            word.split("=")[1]
            for word in Path(f"/proc/{serving.ready['pid']}/cmdline").read_text().split("\0")
            if word.startswith("--id=")
        )
        assert list(Path("/dev/shm").glob(f"*{name}*"))
        serving.process.kill()
        serving.process.wait()
        until(lambda: not members(serving.ready["pid"]) and not list(Path("/dev/shm").glob(f"*{name}*")), 30)


def until(happened, within_s):
    end = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)
