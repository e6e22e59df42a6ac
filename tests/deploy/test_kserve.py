"""deploy/kserve: every number is the code's, and what Knative refuses is not asked of it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from exeunt.hosting.metrics import GAUGES
from exeunt.serving.container import options
from exeunt.serving.drain import MARGIN_S
from exeunt.serving.launch import EXIT_TIMEOUT_S
from exeunt.settings import Settings
from tests.places import ROOT

yaml = pytest.importorskip("yaml", reason="pip install 'exeunt[check]'")
STANDARD, KNATIVE = ("exeunt", "digits"), ("exeunt-knative", "digits-at-night")
DRAIN_S = Settings().drain_s + MARGIN_S + EXIT_TIMEOUT_S + 5


def named(name: str) -> dict[str, Any]:
    (spec,) = (
        item
        for path in (ROOT / "deploy/kserve").glob("*.yaml")
        for item in yaml.safe_load_all(path.read_text())
        if item.get("metadata", {}).get("name") == name
    )
    return spec


def container(runtime: str) -> dict[str, Any]:
    (spec,) = named(runtime)["spec"]["containers"]
    return spec


def predictor(service: str) -> dict[str, Any]:
    spec: dict[str, Any] = named(service)["spec"]["predictor"]
    return spec


@pytest.mark.parametrize(("runtime", "service"), [STANDARD, KNATIVE])
def test_a_service_names_our_runtime_and_a_format_of_its(runtime: str, service: str) -> None:
    model = predictor(service)["model"]
    assert model["runtime"] == runtime
    formats = {(item["name"], item["version"]) for item in named(runtime)["spec"]["supportedModelFormats"]}
    assert (model["modelFormat"]["name"], model["modelFormat"]["version"]) in formats
    assert model["protocolVersion"] in named(runtime)["spec"]["protocolVersions"]


@pytest.mark.parametrize("runtime", [STANDARD[0], KNATIVE[0]])
def test_a_runtime_runs_the_composes_image_with_arguments_that_are_understood(runtime: str) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["triton"]
    server = container(runtime)
    assert server["image"] == re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", compose["image"])
    assert server["command"] == compose["command"][:3]
    ours = options(server["args"])
    assert [port["containerPort"] for port in server["ports"]] == [ours.http_port]
    assert server["readinessProbe"]["exec"]["command"] == [*compose["healthcheck"]["test"][1:-1], str(ours.repository)]
    assert {"/dev/shm", str(ours.state_dir)} == {mount["mountPath"] for mount in server["volumeMounts"]}


def test_in_standard_mode_a_start_and_a_stop_have_the_time_that_they_take() -> None:
    server = container(STANDARD[0])
    startup = server["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= options(server["args"]).start_s
    assert (
        predictor(STANDARD[1])["terminationGracePeriodSeconds"]
        > server["lifecycle"]["preStop"]["sleep"]["seconds"] + DRAIN_S
    )


def test_in_standard_mode_it_scales_by_a_metric_that_exists_at_the_port_that_is_scraped() -> None:
    query = predictor(STANDARD[1])["autoScaling"]["metrics"][0]["external"]["metric"]["query"]
    assert set(re.findall(r"exeunt_\w+", query)) == {"exeunt_waiting_rows"} <= set(GAUGES)
    assert named(STANDARD[0])["spec"]["annotations"]["prometheus.kserve.io/port"] == str(options([]).metrics_port)


def test_in_knative_mode_nothing_is_asked_that_knative_refuses() -> None:
    server = container(KNATIVE[0])
    assert not {"lifecycle", "startupProbe"} & set(server) and len(server["ports"]) == 1
    assert "terminationGracePeriodSeconds" not in predictor(KNATIVE[1])
    assert named(KNATIVE[1])["metadata"]["annotations"] == {"serving.kserve.io/deploymentMode": "Knative"}


def test_in_knative_mode_a_start_and_a_stop_have_the_time_that_they_take() -> None:
    night = predictor(KNATIVE[1])
    assert night["minReplicas"] == 0 and night["timeout"] > DRAIN_S
    deadline = night["annotations"]["serving.knative.dev/progress-deadline"]
    assert float(deadline.removesuffix("s")) >= options(container(KNATIVE[0])["args"]).start_s


def test_a_pod_takes_no_more_requests_at_a_time_than_the_server_does() -> None:
    assert predictor(KNATIVE[1])["containerConcurrency"] <= Settings().max_waiting_rows
