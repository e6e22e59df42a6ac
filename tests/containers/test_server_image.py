"""The server image, really built and started with the rights of docker-compose.yml, on stand-ins for its bases.

`make containers` runs these; they need root, Debian's docker.io and mmdebstrap, and a few minutes.
"""

import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from tritonclient import http

from exeunt.serving.launch import choose_ports
from exeunt_export.export_bag import export_bag
from tests.containers.engine import UnavailableError, build, running, why_not
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag
from tests.places import ROOT

pytestmark = [pytest.mark.containers, pytest.mark.skipif(bool(why_not()), reason=why_not() or "an engine can start")]
TAG = "26.11-py3"
SERVICE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["triton"]
USER = int(SERVICE["user"].split(":")[0])
KILL = """
import os, pathlib, signal
for file in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    words = file.read_bytes().split(b"\\0")
    if words[0].endswith(b"stub") and b"tiny_exit" in words[1]:
        os.kill(int(file.parent.name), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def docker():
    # not in pytest's folders, which it looks through later: an engine's data are many, and not ours to read
    kept_in = tempfile.TemporaryDirectory(prefix="exeunt-engine-", ignore_cleanup_errors=True)
    try:
        with kept_in as folder, running(Path(folder)) as engine:
            yield engine
    except UnavailableError as error:
        pytest.skip(f"no docker engine starts here: {error}")


@pytest.fixture(scope="module")
def image(docker, tmp_path_factory):
    try:
        return build(docker, tmp_path_factory.mktemp("images"), TAG)
    except UnavailableError as error:
        pytest.skip(f"no stand-in for the images' bases: {error}")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The volume `models`, readable by all."""
    models = tmp_path_factory.mktemp("models")
    export_bag(tiny_bag(tmp_path_factory.mktemp("bag"), members=2), models / "repository")
    for folder in (models, *models.rglob("*")):
        folder.chmod(0o755 if folder.is_dir() else 0o644)
    for parent in models.parents:
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o755)
    return models


def own_state(tmp_path_factory):
    """A volume `state`; two servers cannot share one."""
    state = tmp_path_factory.mktemp("state")
    os.chown(state, USER, USER)
    return state


class Container:
    """The service `triton` of the compose file, by `docker run`."""

    def __init__(self, docker, image, models, state):
        self.docker, self.ports = docker, choose_ports(None, None, None)
        words = ["run", "-d", "--network", "host", "--init", "--shm-size", "1g", "--user", SERVICE["user"]]
        words += ["--read-only"] if SERVICE["read_only"] else []
        words += ["--pids-limit", str(SERVICE["pids_limit"])]
        words += [word for right in SERVICE["cap_drop"] for word in ("--cap-drop", right)]
        words += [word for option in SERVICE["security_opt"] for word in ("--security-opt", option)]
        words += [word for mount in SERVICE["tmpfs"] for word in ("--tmpfs", mount)]
        words += [word for volume in SERVICE["volumes"] if ":" not in volume for word in ("-v", volume)]
        words += ["-v", f"{models}:/models:ro", "-v", f"{state}:/state", image, *SERVICE["command"]]
        http_port, grpc_port, metrics_port = self.ports.http, self.ports.grpc, self.ports.metrics
        ports = [f"--http-port={http_port}", f"--grpc-port={grpc_port}", f"--metrics-port={metrics_port}"]
        self.id = docker(*words, "--address=127.0.0.1", *ports)

    def await_answer(self, within_s=120):
        end = time.monotonic() + within_s
        while True:
            try:
                return self.ask()
            except Exception as error:
                state = json.loads(self.docker("inspect", self.id))[0]["State"]
                assert state["Running"] and time.monotonic() < end, f"{error}\n{self.said()[-4000:]}"
                time.sleep(0.5)

    def ask(self, **parameters):
        rows = noise_rows(2, 5, 16)
        with http.InferenceServerClient(f"127.0.0.1:{self.ports.http}") as client:
            image = http.InferInput("IMAGE", list(rows.shape), "FP32")
            image.set_data_from_numpy(rows)
            return client.infer("tiny", [image], parameters=parameters or None).as_numpy("LABEL")

    def said(self):
        return self.docker("logs", self.id)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.docker("rm", "-f", "-v", self.id)


@pytest.fixture(scope="module")
def container(docker, image, models, tmp_path_factory):
    with Container(docker, image, models, own_state(tmp_path_factory)) as running_container:
        running_container.await_answer()
        yield running_container


def test_the_container_answers_with_the_composes_rights(container):
    np.testing.assert_array_equal(container.ask(), container.ask(exit="never"))


def test_the_images_own_probe_finds_it_alive(container):
    address = f"--address=127.0.0.1:{container.ports.http}"
    said = container.docker(
        "exec", container.id, "python3", "-m", "exeunt.serving.probe", "/models/repository", address
    )
    assert "tiny: alive" in said


def test_it_runs_as_nobody_special_on_a_root_that_cannot_be_written(container):
    inspected = json.loads(container.docker("inspect", container.id))[0]
    assert inspected["HostConfig"]["ReadonlyRootfs"] and inspected["Config"]["User"] == SERVICE["user"]
    assert inspected["HostConfig"]["CapDrop"] == ["ALL"] and not inspected["HostConfig"]["Privileged"]


def test_the_server_image_adds_at_most_60_mb_to_its_base(docker, image):
    sizes = [
        int(docker("image", "inspect", "-f", "{{.Size}}", name))
        for name in (image, f"nvcr.io/nvidia/tritonserver:{TAG}")
    ]
    assert sizes[0] - sizes[1] <= 60 * 2**20


def test_a_stop_drains_and_what_was_learnt_is_there_after_it(docker, image, models, tmp_path_factory):
    state = own_state(tmp_path_factory)
    with Container(docker, image, models, state) as first:
        first.await_answer()
        docker("stop", "-t", "45", first.id)
        assert json.loads(docker("inspect", first.id))[0]["State"]["ExitCode"] == 0
    assert list(state.glob("*.npz"))
    with Container(docker, image, models, state) as second:
        second.await_answer()


def test_a_killed_backend_process_ends_the_container_for_its_restart_policy(docker, image, models, tmp_path_factory):
    with Container(docker, image, models, own_state(tmp_path_factory)) as victim:
        victim.await_answer()
        docker("exec", victim.id, "python3", "-c", KILL)
        end = time.monotonic() + 60
        while json.loads(docker("inspect", victim.id))[0]["State"]["Running"]:
            assert time.monotonic() < end
            time.sleep(0.2)
        assert json.loads(docker("inspect", victim.id))[0]["State"]["ExitCode"] == 70
