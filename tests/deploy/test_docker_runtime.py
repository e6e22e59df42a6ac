"""`exeunt serve --runtime docker` without a docker engine; tests/containers has it on one."""

import os

import pytest

from exeunt.errors import ConfigError
from exeunt.serving import docker_runtime
from tests.deciding.controller_bag import manifest

pytest.importorskip("docker", reason="pip install 'exeunt[docker]'")


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository" / "bag_exit" / "1"
    folder.mkdir(parents=True)
    manifest().save(folder / "manifest.json")
    return tmp_path / "repository"


def test_without_an_engine_the_pip_runtime_is_named(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    refused = pytest.raises(ConfigError, match="use --runtime pip")
    with refused, docker_runtime.serve_docker(repository, state_dir=tmp_path):
        pass


def test_without_a_socket_the_variable_that_names_another_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(ConfigError, match="DOCKER_HOST names another"):
        docker_runtime.connect()


def test_the_state_of_root_is_given_to_the_containers_user(tmp_path):
    docker_runtime.own_state(tmp_path / "state")
    assert os.stat(tmp_path / "state").st_uid == (os.getuid() or docker_runtime.USER_ID)
