"""`docker compose up` as a user does it, with Prometheus, Grafana and store: asked, watched, stopped, broken, removed.

The images' bases are stand-ins (stand_ins.py). Tests run in this order: the later ones stop and break things.
"""

import re

import numpy as np
import pytest
import yaml

from tests.containers.compose import PROMETHEUS, metrics, until
from tests.containers.fast_clock import quicken
from tests.containers.load import ANSWERED, ask_grpc, ask_http, exported_stream, load
from tests.containers.rights import granted, rights
from tests.deploy.prometheus import Prometheus, rules_of_the_files
from tests.places import ROOT

pytestmark = pytest.mark.containers
COMPOSE_FILES = ["tests/containers/fast-clock.yml"]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
ENDLESS = ["triton", "prometheus", "grafana", "valkey"]
MADE = ["export", "perf", *ENDLESS]
STUB_OF_THE_CONTROLLER = 'b"digits_exit/1" in line and line.split(b"\\0")[0].endswith(b"stub")'
SUPERVISOR = 'line.split(b"\\0")[:3] == [b"python3", b"-m", b"exeunt.serving.container"]'
SIGNAL = """
import os, pathlib
for file in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    line = file.read_bytes()
    if {which}:
        os.kill(int(file.parent.name), {number})
        break
else:
    raise SystemExit("no such process")
"""
KILL, STOP = 9, 19


@pytest.fixture(scope="module")
def stack(project):
    """Everything but the load test, started and healthy."""
    quicken(project.folder / "deploy/prometheus", project.folder / "fast-clock")
    project.env["EXEUNT_STATE_URL"] = "redis://valkey:6379"
    project("--profile", "observability", "--profile", "store", "up", "-d")
    project("--profile", "perf", "create", "--no-recreate", "perf")  # test_page.py runs it
    project.await_healthy(*ENDLESS)
    project.keep_models()
    yield project
    del project.env["EXEUNT_STATE_URL"]


@pytest.fixture(scope="module")
def images(stack):
    return exported_stream(stack)


@pytest.fixture(scope="module")
def prometheus(stack):
    return Prometheus(f"http://{PROMETHEUS}")


def send(stack, which: str, number: int) -> None:
    """Send a signal to a process in the server's container, as the container's own user may."""
    stack("exec", "-T", "triton", "python3", "-c", SIGNAL.format(which=which, number=number))


def test_http_and_grpc_give_the_same_answer(images, stack):
    labels = [ask(images[:4], exit="never").as_numpy("LABEL") for ask in (ask_http, ask_grpc)]
    np.testing.assert_array_equal(*labels)


def test_a_full_vote_comes_from_the_last_exit(images, stack):
    answer = ask_http(images[:4], exit="never")
    exits = {int(name.split('exit="')[1].split('"')[0]) for name in metrics() if name.startswith("exeunt_answers_")}
    assert set(answer.as_numpy("EXIT").ravel()) == {max(exits)} and not answer.as_numpy("REASON").any()


def test_the_metrics_count_every_answer(images, stack):
    before = sum(value for name, value in metrics().items() if name.startswith("exeunt_answers_total"))
    ask_grpc(images[:32])
    counted = lambda: sum(value for name, value in metrics().items() if name.startswith("exeunt_answers_total"))  # noqa: E731
    until(lambda: counted() >= before + 32, 30)


@pytest.mark.parametrize("name", ENDLESS)
def test_a_log_says_for_which_release_a_stand_in_runs(stack, name):
    release = stack.container(name).attrs["Config"]["Image"].rsplit(":", 1)[1]
    assert re.search(rf"stand-in for \S+:{re.escape(release)}: \w+", stack("logs", name))


@pytest.mark.parametrize("name", MADE)
def test_a_container_has_the_rights_of_the_compose_file_and_no_more(stack, name):
    assert rights(stack.container(name)) == granted(SERVICES[name])


@pytest.mark.parametrize("name", MADE)
def test_a_container_writes_to_its_own_volume_alone(stack, name):
    mounts = {mount["Destination"]: mount["RW"] for mount in stack.container(name).attrs["Mounts"]}
    named = (volume for volume in SERVICES[name].get("volumes", ()) if ":" in volume)
    expected = {volume.split(":")[1]: not volume.endswith(":ro") for volume in named}
    expected |= {volume: True for volume in SERVICES[name].get("volumes", ()) if ":" not in volume}
    assert mounts == expected


@pytest.mark.parametrize("name", ENDLESS)
def test_ports_are_published_on_loopback_alone(stack, name):
    published = stack.container(name).attrs["HostConfig"]["PortBindings"] or {}
    assert {port["HostIp"] for ports in published.values() for port in ports} <= {"127.0.0.1"}
    assert len(published) == len(SERVICES[name].get("ports", ()))


def test_the_export_had_no_network(stack):
    assert list(stack.container("export").attrs["NetworkSettings"]["Networks"]) == ["none"]


@pytest.mark.parametrize("place", ["/", "/opt/tritonserver/bin", "/models/repository", "/etc"])
def test_the_server_cannot_write(stack, place):
    status, output = stack.container("triton").exec_run(["touch", f"{place}/x"])
    assert status != 0 and (b"Read-only file system" in output or b"Permission denied" in output)


def test_prometheus_reaches_every_target(prometheus):
    until(lambda: prometheus.jobs_up() == ["prometheus", "triton"], 90)  # names are asked for twice a minute


def test_prometheus_has_loaded_every_rule(prometheus):
    until(lambda: prometheus.rules() == dict.fromkeys(rules_of_the_files(), "ok"), 60)


def test_the_server_shares_by_the_store(stack):
    until(lambda: metrics().get('exeunt_store{bag="digits",name="reachable"}') == 1, 60)
    until(lambda: "exeunt:" in stack("exec", "-T", "valkey", "valkey-cli", "keys", "exeunt:*"), 60)


def test_answers_go_on_without_the_store(images, stack):
    stack("stop", "valkey")
    until(lambda: metrics()['exeunt_store{bag="digits",name="reachable"}'] == 0, 90)
    assert ask_grpc(images[:4], exit="never").as_numpy("LABEL").shape == (4, 1)
    stack("start", "valkey")
    until(lambda: metrics()['exeunt_store{bag="digits",name="reachable"}'] == 1, 90)


@pytest.fixture(scope="module")
def stopped_under_load(images, stack):
    """The server, taught by 2000 rows, then stopped while clients ask on, then started: outcomes and metrics."""
    with load(images, clients=4) as outcomes:
        until(lambda: outcomes[ANSWERED] >= 2000, 300)
    until(lambda: metrics()['exeunt_tuner{bag="digits",name="unconfirmed_rows"}'] == 0, 60)
    taught = metrics()
    with load(images, clients=4) as outcomes:
        until(lambda: outcomes[ANSWERED] >= 50, 60)
        stack("stop", "triton")
        ending = stack.container("triton").attrs["State"]
    stack("start", "triton")
    stack.await_healthy("triton")
    return outcomes, ending, taught, metrics()


def test_a_stop_under_load_loses_nothing_and_confuses_nobody(stopped_under_load):
    outcomes, _, _, _ = stopped_under_load
    assert set(outcomes) == {ANSWERED, "StatusCode.UNAVAILABLE"}


def test_a_stopped_server_has_ended_in_order(stopped_under_load, stack):
    _, ending, _, _ = stopped_under_load
    assert ending["ExitCode"] == 0 and not ending["OOMKilled"]
    assert "exeunt: drained" in stack("logs", "triton")


def test_a_restart_keeps_what_was_learnt(stopped_under_load):
    _, _, taught, started = stopped_under_load
    thresholds = [name for name in taught if name.startswith("exeunt_threshold")]
    assert any(taught[name] > 0 for name in thresholds)
    assert any(started[name] > 0 for name in thresholds)


def test_a_killed_controller_is_back_by_the_containers_own_restart(images, stack):
    before = stack.container("triton").attrs["RestartCount"]
    send(stack, STUB_OF_THE_CONTROLLER, KILL)
    until(lambda: stack.container("triton").attrs["RestartCount"] == before + 1, 60)
    stack.await_healthy("triton")
    assert ask_grpc(images[:4], exit="never").as_numpy("LABEL").shape == (4, 1)


def test_an_alert_fires_when_a_controller_stays_dead(prometheus, stack):
    send(stack, SUPERVISOR, STOP)  # else the container would be back before anybody wakes
    send(stack, STUB_OF_THE_CONTROLLER, KILL)

    def firing():
        alerts = prometheus.api("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    until(lambda: "ExeuntStubDead" in firing(), 120)


def test_down_with_volumes_leaves_nothing(stack):
    stack("kill", "triton")  # its supervisor was stopped: it cannot drain
    stack("--profile", "*", "down", "-v")
    assert stack.left() == []
