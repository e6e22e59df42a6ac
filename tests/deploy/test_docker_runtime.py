"""`exeunt serve --runtime docker`: what it asks a docker engine for, and what it says without one."""

import os
import re

import pytest
import yaml

from exeunt.errors import ConfigError, ServingError
from exeunt.serving import docker_runtime
from exeunt.serving.docker_runtime import IMAGE, serve_docker
from tests.deciding.controller_bag import manifest
from tests.deploy.docker_engine import Engine, docker_engine
from tests.places import ROOT

pytest.importorskip("docker", reason="pip install 'exeunt[docker]'")
TRITON = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["triton"]
HEALTHY = {"Status": "running", "Pid": 4711, "Health": {"Status": "healthy"}}
STARTING = {"Status": "running", "Pid": 4711, "Health": {"Status": "starting"}}


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository" / "bag_exit" / "1"
    folder.mkdir(parents=True)
    manifest().save(folder / "manifest.json")
    return tmp_path / "repository"


@pytest.fixture
def served(repository, tmp_path, monkeypatch):
    """Serve once on an engine that behaves as told; gives the engine and the server after the stop."""

    def serve(*states, images=(IMAGE,), log=b"exeunt: draining\nexeunt: drained\n", refuses="", engines=None):
        engine = Engine(images, list(states), log, refuses)
        if engines is not None:
            engines.append(engine)
        with docker_engine(tmp_path / "docker.sock", engine) as host:
            monkeypatch.setenv("DOCKER_HOST", host)
            with serve_docker(repository, state_dir=tmp_path / "state") as server:
                pass
        return engine, server

    return serve


def test_without_an_engine_the_pip_runtime_is_named(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(ConfigError, match="use --runtime pip"), serve_docker(repository, state_dir=tmp_path):
        pass


def test_without_the_image_the_command_that_builds_it_is_named(served):
    with pytest.raises(ConfigError, match="docker compose build triton"):
        served(HEALTHY, images=())


def test_it_is_ready_once_the_healthcheck_succeeds_and_stops_with_a_drain(served):
    engine, server = served(STARTING, STARTING, HEALTHY)
    assert server.pid == 4711 and server.drained
    assert [call.split("/")[-1] for call in engine.calls if call.startswith("POST")] == ["create", "start", "stop"]
    assert engine.calls[-1].startswith("DELETE /containers/")


def test_a_container_that_ends_is_an_error_with_its_last_words(served):
    with pytest.raises(ServingError, match=r"(?s)status 78.*holds no bag"):
        served({"Status": "exited", "ExitCode": 78}, log=b"exeunt: /models/repository: holds no bag\n")


def test_a_container_that_the_engine_cannot_start_is_removed_and_its_words_are_told(served):
    engines = []
    with pytest.raises(ServingError, match="port is already allocated"):
        served(HEALTHY, refuses="port is already allocated", engines=engines)
    assert engines[0].calls[-1].startswith("DELETE /containers/")


def test_it_asks_for_the_rights_of_the_compose_file_and_no_more(served, tmp_path):
    created = served(HEALTHY)[0].created
    host = created["HostConfig"]
    assert host["CapDrop"] == TRITON["cap_drop"] and host["SecurityOpt"] == TRITON["security_opt"]
    assert {item["Name"]: item["Soft"] for item in host["Ulimits"]} == TRITON["ulimits"]
    assert host["Tmpfs"] == {item.split(":")[0]: item.split(":")[1] for item in TRITON["tmpfs"]}
    assert host["Init"] is TRITON["init"] and created["StopSignal"] == TRITON["stop_signal"]
    assert created["Cmd"][:3] == TRITON["command"][:3]
    assert host["PidsLimit"] == TRITON["pids_limit"] and host["ReadonlyRootfs"] is TRITON["read_only"]
    assert [mount["Target"] for mount in host["Mounts"]] == [item for item in TRITON["volumes"] if ":" not in item]
    assert created["User"] != "0:0" and host["ShmSize"] == 2 * 2**30
    assert created["Image"] == re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", TRITON["image"])


def test_models_are_read_only_and_ports_on_loopback(served, repository, tmp_path):
    host = served(HEALTHY)[0].created["HostConfig"]
    assert set(host["Binds"]) == {f"{repository}:/models/repository:ro", f"{tmp_path}/state:/state:rw"}
    assert {port["HostIp"] for ports in host["PortBindings"].values() for port in ports} == {"127.0.0.1"}


def test_a_host_without_the_nvidia_runtime_is_asked_for_no_gpus(served):
    created = served(HEALTHY)[0].created
    assert not created["HostConfig"]["DeviceRequests"] and "--gpu-metrics=false" in created["Cmd"]


def test_the_state_of_root_is_given_to_the_containers_user(tmp_path):
    docker_runtime.own_state(tmp_path / "state")
    assert os.stat(tmp_path / "state").st_uid == (os.getuid() or docker_runtime.USER_ID)
