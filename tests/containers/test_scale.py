"""The profile `scale`: replicas behind the balancer, on the engine's own network and names, watched by Prometheus."""

import numpy as np
import pytest
import yaml

from tests.containers.compose import PROMETHEUS, until
from tests.containers.load import ANSWERED, ask_grpc, ask_http, exported_stream, load
from tests.containers.rights import granted, rights
from tests.deploy.prometheus import Prometheus, rules_of_the_files
from tests.places import ROOT

pytestmark = pytest.mark.containers
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
COUNT_ANSWERS = """
import urllib.request
lines = urllib.request.urlopen("http://127.0.0.1:8002/metrics").read().decode().splitlines()
print(sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("exeunt_answers_total")))
"""


def scale(project, replicas: int) -> None:
    """As docs/production.md has it, in the background."""
    project("--profile", "scale", "up", "-d", "--no-recreate", "--scale", f"replica={replicas}", "balancer")


@pytest.fixture(scope="module")
def replicas(project):
    """Two of them, the balancer and Prometheus, healthy."""
    scale(project, 2)
    project("--profile", "observability", "up", "-d", "--no-recreate", "--no-deps", "prometheus")
    project.await_healthy("replica", "balancer", "prometheus", within_s=300)
    return project


@pytest.fixture(scope="module")
def images(replicas):
    return exported_stream(replicas)


def answers(replica) -> float:
    """Rows that a replica has answered, its own watchdog's included."""
    return float(replica.exec_run(["python3", "-c", COUNT_ANSWERS]).output)


def test_the_balancer_takes_both_protocols(images):
    labels = [ask(images[:4], exit="never").as_numpy("LABEL") for ask in (ask_http, ask_grpc)]
    np.testing.assert_array_equal(*labels)


def test_only_the_balancer_publishes_ports(replicas):
    assert not any(replica.attrs["HostConfig"]["PortBindings"] for replica in replicas.containers("replica"))
    published = replicas.container("balancer").attrs["HostConfig"]["PortBindings"]
    assert {port["HostIp"] for ports in published.values() for port in ports} == {"127.0.0.1"}


def test_the_balancer_has_the_rights_of_the_compose_file_and_no_more(replicas):
    container = replicas.container("balancer")
    assert rights(container) == granted(SERVICES["balancer"])
    assert [mount["RW"] for mount in container.attrs["Mounts"]] == [False]


@pytest.fixture(scope="module")
def prometheus(replicas):
    return Prometheus(f"http://{PROMETHEUS}")


def test_prometheus_reaches_the_balancer_and_every_replica(prometheus):
    until(lambda: prometheus.jobs_up() == ["balancer", "prometheus", "triton", "triton"], 120)


def test_prometheus_has_loaded_every_rule_before_replicas_too(prometheus):
    until(lambda: prometheus.rules() == dict.fromkeys(rules_of_the_files(), "ok"), 60)


def test_every_replica_has_its_share_of_one_clients_requests(images, replicas):
    before = [answers(replica) for replica in replicas.containers("replica")]
    with load(images, clients=4) as outcomes:
        until(lambda: outcomes[ANSWERED] >= 400, 120)
    after = [answers(replica) for replica in replicas.containers("replica")]
    assert all(now - then > 40 for now, then in zip(after, before, strict=True))


def test_a_replica_that_is_taken_away_under_load_loses_nothing(images, replicas):
    with load(images, clients=4) as outcomes:
        until(lambda: outcomes[ANSWERED] >= 100, 120)
        scale(replicas, 1)
        since = outcomes[ANSWERED]
        until(lambda: outcomes[ANSWERED] >= since + 100, 120)
    assert set(outcomes) == {ANSWERED}
    assert len(replicas.containers("replica")) == 1
