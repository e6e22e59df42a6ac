"""`exeunt serve --runtime docker` on a docker engine: started, asked, watched, stopped; and what it refuses."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile

import docker as sdk
import numpy as np
import pytest
import yaml
from tritonclient import http

from exeunt.errors import ConfigError, ServingError
from exeunt.serving.docker_runtime import IMAGE, IMAGE_VARIABLE, serve_docker
from exeunt_export.export_bag import export_bag
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag
from tests.places import ROOT

pytestmark = pytest.mark.containers
TRITON = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["triton"]
ROWS = noise_rows(2, 5, 16)


@pytest.fixture(scope="module")
def engine(docker):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", docker.env["DOCKER_HOST"])
        engine = sdk.from_env()
        yield engine
        engine.close()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    export_bag(tiny_bag(tmp_path_factory.mktemp("bag"), members=2), folder / "repository")
    return folder / "repository"


@pytest.fixture(scope="module")
def server(engine, repository, tmp_path_factory):
    with serve_docker(repository, state_dir=tmp_path_factory.mktemp("state") / "docker") as server:
        yield server


@pytest.fixture(scope="module")
def container(engine, server):
    return engine.containers.get(server.name).attrs


def ask(address: str, **parameters: str) -> np.ndarray:
    with http.InferenceServerClient(address) as client:
        image = http.InferInput("IMAGE", list(ROWS.shape), "FP32")
        image.set_data_from_numpy(ROWS)
        return client.infer("tiny", [image], parameters=parameters or None).as_numpy("LABEL")


def left(engine) -> list[str]:
    return [container.name for container in engine.containers.list(all=True)]


def test_it_answers_once_the_block_is_entered(server):
    np.testing.assert_array_equal(ask(server.http_url), ask(server.http_url, exit="never"))


def test_it_has_the_rights_of_the_compose_file_and_no_more(container):
    host, config = container["HostConfig"], container["Config"]
    assert host["CapDrop"] == TRITON["cap_drop"] and host["SecurityOpt"] == TRITON["security_opt"]
    assert {item["Name"]: item["Soft"] for item in host["Ulimits"]} == TRITON["ulimits"]
    assert host["Tmpfs"] == dict(item.split(":", 1) for item in TRITON["tmpfs"])
    assert host["Init"] is TRITON["init"] and config["StopSignal"] == TRITON["stop_signal"]
    assert host["PidsLimit"] == TRITON["pids_limit"] and host["ReadonlyRootfs"] is TRITON["read_only"]
    assert config["User"] == TRITON["user"] and not host["Privileged"] and host["ShmSize"] == 2 * 2**30


def test_models_are_read_only_and_only_the_state_is_the_hosts_to_write(container, repository, server):
    mounts = {mount["Destination"]: (mount["Type"], mount["RW"]) for mount in container["Mounts"]}
    anonymous_volumes = [volume for volume in TRITON["volumes"] if ":" not in volume]
    expected = {"/models/repository": ("bind", False), "/state": ("bind", True)}
    assert mounts == expected | {volume: ("volume", True) for volume in anonymous_volumes}


def test_ports_are_on_loopback(container, server):
    published = container["HostConfig"]["PortBindings"].values()
    assert {(port["HostIp"], int(port["HostPort"])) for ports in published for port in ports} == {
        ("127.0.0.1", port) for port in server.ports
    }


def test_a_host_without_the_nvidia_runtime_is_asked_for_no_gpus(container):
    assert not container["HostConfig"]["DeviceRequests"] and "--gpu-metrics=false" in container["Config"]["Cmd"]


def test_the_verb_serves_restarts_what_was_killed_drains_and_leaves_nothing(engine, repository, tmp_path):
    before = left(engine)
    line = [sys.executable, "-m", "exeunt.cli.main", "serve", str(repository), "--runtime=docker", "--json"]
    with subprocess.Popen(
        [*line, f"--state-dir={tmp_path / 'state'}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        first = json.loads(process.stdout.readline())
        assert first["status"] == "ready" and ask(first["http"]).shape == (2, 1)
        os.kill(first["pid"], signal.SIGKILL)  # the container's first process
        again = json.loads(process.stdout.readline())
        assert again["http"] == first["http"] and ask(again["http"]).shape == (2, 1)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=120)
    assert json.loads(output) == {"status": "stopped", "drained": True}
    assert left(engine) == before


def test_without_the_image_the_command_that_builds_it_is_named(engine, repository, tmp_path, monkeypatch):
    monkeypatch.setenv(IMAGE_VARIABLE, "exeunt/tritonserver:none-such")
    with pytest.raises(ConfigError, match="docker compose build triton"), serve_docker(repository, state_dir=tmp_path):
        pass


def test_a_container_that_ends_is_an_error_with_its_last_words(engine, repository, tmp_path):
    before = left(engine)
    empty = tmp_path / "empty" / "bag_exit" / "1"
    empty.mkdir(parents=True)
    (empty / "manifest.json").write_bytes((repository / "tiny_exit/1/manifest.json").read_bytes())
    with (
        pytest.raises(ServingError, match=r"(?s)did not start, status 78:\n.*config\.pbtxt"),
        serve_docker(tmp_path / "empty", state_dir=tmp_path / "state"),
    ):
        pass
    assert left(engine) == before


def test_a_container_that_the_engine_cannot_start_is_removed_with_the_engines_words(
    engine, repository, tmp_path, monkeypatch
):
    before = left(engine)
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w").close()
    engine.api.import_image_from_data(empty.getvalue(), "stand-in/empty", "1", changes=["WORKDIR /proc/self/none"])
    monkeypatch.setenv(IMAGE_VARIABLE, "stand-in/empty:1")
    with (
        pytest.raises(ServingError, match="the engine did not start stand-in/empty:1"),
        serve_docker(repository, state_dir=tmp_path / "state"),
    ):
        pass
    assert left(engine) == before


def test_a_port_that_a_container_has_is_named(server, repository, tmp_path):
    port = server.ports[0]
    with (
        pytest.raises(ConfigError, match=f"--http-port = {port}"),
        serve_docker(repository, http_port=port, state_dir=tmp_path / "state"),
    ):
        pass


def test_the_image_is_the_compose_files():
    assert TRITON["image"].startswith("exeunt/tritonserver:") and IMAGE.split(":")[1] in TRITON["image"]
