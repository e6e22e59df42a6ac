"""deploy/haproxy in front of three real servers: replicas come, go and die under load over both protocols."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from exeunt.measuring.perf_metrics import exits_of
from tests.deploy.balancer import CONFIG, PORTS, Fleet, haproxy, running_balancer
from tests.deploy.callers import Callers
from tests.deploy.container import until
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag

pytestmark = pytest.mark.slow

ROW = noise_rows(1, 3, 16)
CALLERS = 6


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxscript", reason="pip install 'exeunt[export]'")
    from exeunt_export.export_bag import export_bag

    folder = tmp_path_factory.mktemp("balanced")
    export_bag(tiny_bag(folder, mode="engine", members=2), folder / "repository")
    return folder / "repository"


@pytest.fixture(scope="module", params=["installed", "wheel"])
def fleet(
    request: pytest.FixtureRequest, triton: None, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with running_balancer(folder, haproxy(request.param)) as balancer:
        fleet = Fleet(repository, folder, balancer)
        try:
            for _ in range(3):
                fleet.start()
            until(balancer.healthy, 30)
            yield fleet
        finally:
            fleet.close()


def calling(fleet: Fleet) -> Callers:
    return Callers(fleet.balancer.http, fleet.balancer.grpc, ROW, CALLERS // 2)


def go_on(callers: Callers, requests: int) -> None:
    """Wait for so many more answers over each protocol."""
    before = dict(callers.answered)
    until(lambda: all(callers.answered[kind] > before[kind] + requests for kind in before), 120)


def answers(address: str) -> float:
    """Rows that a replica has answered."""
    with urllib.request.urlopen(f"http://{address}:{PORTS.metrics}/metrics", timeout=30) as page:
        return sum(exits_of(page.read().decode(), "tiny").answers.values())


@pytest.mark.parametrize("which", ["installed", "wheel"])
def test_haproxy_itself_finds_no_fault_in_the_file(which: str) -> None:
    ended = subprocess.run([haproxy(which), "-c", "-f", CONFIG], capture_output=True, text=True, check=False)
    assert ended.returncode == 0 and "WARNING" not in ended.stdout + ended.stderr, ended.stdout + ended.stderr


@pytest.mark.triton
def test_one_connection_reaches_every_replica(fleet: Fleet) -> None:
    before = {address: answers(address) for address in fleet.all}
    with calling(fleet) as callers:
        go_on(callers, 300)
    total = callers.total()
    assert callers.failures() == []
    until(lambda: all(answers(address) - before[address] > 0.1 * total for address in before), 10)


@pytest.mark.triton
def test_every_replica_locks_a_folder_of_its_own_in_the_one_volume(fleet: Fleet) -> None:
    state_lines = {
        next(line for line in replica.said() if line.startswith("state: ")) for replica in fleet.all.values()
    }
    assert state_lines == {f"state: {fleet.state}/replica-{number}" for number in range(3)}


@pytest.mark.triton
def test_a_scale_down_under_load_fails_no_request(fleet: Fleet) -> None:
    with calling(fleet) as callers:
        go_on(callers, 50)
        fleet.stop(next(reversed(fleet.all)))
        fleet.stop(next(reversed(fleet.all)))
        go_on(callers, 50)
        fleet.start()
        fleet.start()
        go_on(callers, 50)
    assert callers.failures() == []


@pytest.mark.triton
def test_a_rolling_update_under_load_fails_no_request(fleet: Fleet) -> None:
    old = list(fleet.all)
    with calling(fleet) as callers:
        for address in old:
            fleet.start()
            go_on(callers, 20)
            fleet.stop(address)
    assert callers.failures() == [] and not set(old) & set(fleet.all)


@pytest.mark.triton
def test_a_killed_replica_fails_at_most_what_it_had_in_flight_and_nothing_after(fleet: Fleet) -> None:
    with calling(fleet) as callers:
        go_on(callers, 50)
        fleet.kill(next(iter(fleet.all)))
        go_on(callers, 50)
        failed = callers.failures()
        fleet.start()
        go_on(callers, 200)
    assert len(failed) <= CALLERS and callers.failures() == failed
