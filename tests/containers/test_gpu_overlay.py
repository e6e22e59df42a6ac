"""docker-compose.gpu.yml run without GPUs: its three commands, in its order, with all but the devices it asks for.

tests/deploy/test_gpu_overlay.py holds what it changes to a list.
"""

import pytest
import yaml

from tests.containers.compose import until
from tests.containers.load import ask_grpc, ask_http, exported_stream
from tests.containers.rights import granted, rights
from tests.places import ROOT

pytestmark = pytest.mark.containers
COMPOSE_FILES = ["docker-compose.gpu.yml", "tests/containers/no-gpus.yml"]
BASE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OVERLAY = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())["services"]
SERVERS = "triton", "replica"
ASK = """
import urllib.request
urllib.request.urlopen("http://127.0.0.1:8003/", timeout=10)
"""


@pytest.fixture(scope="module")
def times(project):
    """When `engines` ended and when the server that waited for it started, by the server; both servers are healthy.

    They start one after the other: Triton before 25.08 gives up a backend process that gets no CPU for a second.
    """
    times_by_server = {}
    for name in SERVERS:
        project("--profile", "tensorrt", "--profile", "scale", "up", "-d", name)
        project.await_healthy(name, within_s=300)
        engines, server = (project.container(which).attrs["State"] for which in ("engines", name))
        times_by_server[name] = engines["FinishedAt"], server["StartedAt"]
    return times_by_server


@pytest.fixture(scope="module")
def stack(times, project):
    return project


@pytest.mark.parametrize("name", sorted(OVERLAY))
def test_a_container_runs_the_overlays_command_with_the_rights_of_its_file(stack, name):
    container = stack.container(name)
    assert container.attrs["Config"]["Cmd"] == OVERLAY[name]["command"]
    assert not container.attrs["HostConfig"]["DeviceRequests"]  # what this machine cannot give, and nothing else
    assert rights(container) == granted(BASE.get(name, OVERLAY[name]))


def test_the_engines_ended_well_with_nothing_to_build(stack):
    assert stack.container("engines").attrs["State"]["ExitCode"] == 0
    assert "no engines asked for" in stack("logs", "engines")


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_starts_after_the_engines_have_ended(times, name):
    ended, started = times[name]
    assert started > ended


@pytest.mark.parametrize("ask", [ask_http, ask_grpc])
def test_the_server_answers(stack, ask):
    assert ask(exported_stream(stack)[:4], exit="never").as_numpy("LABEL").shape == (4, 1)


def test_the_replica_says_to_a_balancer_that_it_is_well(stack):
    replica = stack.container("replica")
    until(lambda: replica.exec_run(["python3", "-c", ASK]).exit_code == 0, 30)
