"""How the backend processes end when Triton ends by itself, in order: by exiting, none of them by a signal."""

import contextlib
import secrets
import shlex
import subprocess
import threading
import time

import pytest
from tritonclient import grpc

from exeunt.hosting.state_files import STATE_DIR_VARIABLE
from exeunt.serving.backends import STUB, assemble, environment, find_wheel
from exeunt.serving.launch import HOST, choose_ports, command
from exeunt.serving.processes import kill_group
from exeunt_export.export_bag import export_bag
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag

pytestmark = pytest.mark.triton
ROWS = noise_rows(2, 5, 16)
# what Triton starts as a backend's process: the real one, then a line of how it ended
NOTING = """#!/bin/sh
{stub} "$@"
ended=$?
if [ -n "$1" ]; then echo "$1 $ended" >> {ends}; fi  # without arguments it is only asked whether it is there
"""


def noting_backends(folder, ends):
    """A backend directory whose processes note how they ended."""
    wheel = find_wheel()
    stub = assemble(folder, wheel) / "python" / STUB
    stub.write_text(NOTING.format(stub=shlex.quote(str(wheel.stub)), ends=shlex.quote(str(ends))))
    return folder


@contextlib.contextmanager
def bare_triton(repository, backends, state_dir):
    """(process, URL for gRPC) of a tritonserver without our supervisor."""
    wheel, ports = find_wheel(), choose_ports(None, None, None)
    name = f"exeunt-{secrets.token_hex(4)}"
    line = command(wheel.binary, name=name, repository=repository, backends=backends, ports=ports, max_tickets=16)
    line = [word for word in line if not word.startswith("--exit-timeout-secs")] + ["--exit-timeout-secs=60"]
    env = environment(wheel) | {STATE_DIR_VARIABLE: str(state_dir)}
    with (state_dir / "log").open("w") as log:
        process = subprocess.Popen(line, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process, f"{HOST}:{ports.grpc}"
    finally:
        kill_group(process.pid)
        process.wait()


@contextlib.contextmanager
def answering_triton(repository, backends, state_dir, ends):
    """The same, once it has answered ROWS: Triton 24.10 may give up at its start where the machine is busy."""
    for _ in range(5):
        ends.unlink(missing_ok=True)
        with bare_triton(repository, backends, state_dir) as (process, url):
            if answers_soon(process, url):
                yield process, url
                return
    raise AssertionError("the server did not start, five times")


def answers_soon(process, url):
    """Whether a server gives LABEL of ROWS; False when it has ended."""
    end_s = time.monotonic() + 120
    while process.poll() is None:
        try:
            with grpc.InferenceServerClient(url) as client:
                image = grpc.InferInput("IMAGE", list(ROWS.shape), "FP32").set_data_from_numpy(ROWS)
                return client.infer("tiny", [image]).as_numpy("LABEL").shape == (2, 1)
        except grpc.InferenceServerException:
            assert time.monotonic() < end_s, "the server did not start"
            time.sleep(0.2)
    return False


def ask_until_refused(url):
    with grpc.InferenceServerClient(url) as client:
        image = grpc.InferInput("IMAGE", list(ROWS.shape), "FP32").set_data_from_numpy(ROWS)
        with contextlib.suppress(grpc.InferenceServerException):
            while True:
                client.infer("tiny", [image], client_timeout=30)


@pytest.mark.parametrize("mode", ["ensemble", "engine"])
def test_when_triton_unloads_its_models_no_backend_process_crashes(triton, tmp_path, mode):
    export_bag(tiny_bag(tmp_path, mode=mode, members=2, stream=True), tmp_path / "repository")
    ends = tmp_path / "ends"
    backends = noting_backends(tmp_path / "backends", ends)
    (tmp_path / "state").mkdir()
    with answering_triton(tmp_path / "repository", backends, tmp_path / "state", ends) as (process, url):
        # in ensemble mode a Triton that is ended under load may wait for an unloaded model: docs/reliability.md
        callers = [threading.Thread(target=ask_until_refused, args=(url,)) for _ in range(4 if mode == "engine" else 0)]
        for caller in callers:
            caller.start()
        time.sleep(1.5)  # until metrics have been published
        process.terminate()
        for caller in callers:
            caller.join(60)
        assert process.wait(60) == 0
    statuses = dict(line.rsplit(" ", 1) for line in ends.read_text().splitlines())
    assert len(statuses) >= 3 and set(statuses.values()) == {"0"}, statuses
