"""The Helm chart: rendered by the real helm, checked against Kubernetes' own schemas, every number the code's.

No cluster is to be had here: what a rendering says is tested, not what a cluster does with it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from exeunt.errors import ConfigError
from exeunt.hosting.metrics import COUNTERS, GAUGES
from exeunt.hosting.state_files import STATE_URL_VARIABLE
from exeunt.serving.container import options
from exeunt.serving.drain import MARGIN_S
from exeunt.serving.launch import EXIT_TIMEOUT_S
from exeunt.settings import Settings
from exeunt.sharing.redis_store import DEFAULT_PORT, PASSWORD_FILE_VARIABLE
from tests.deploy.kube import CHART, VALUES, binary, golden, rendered
from tests.places import ROOT

yaml = pytest.importorskip("yaml", reason="pip install 'exeunt[check]'")
CUSTOM = {"ScaledObject", "ServiceMonitor"}  # no schema of Kubernetes: test_custom_resources.py has them


@pytest.fixture(scope="session")
def helm() -> Path:
    try:
        return binary("helm")
    except ConfigError as error:
        pytest.skip(f"no helm: {error}")


@cache
def manifests(name: str) -> list[dict[str, Any]]:
    (values,) = (path for path in VALUES if path.name.startswith(f"{name}."))
    return [item for item in yaml.safe_load_all(rendered(values)) if item]


def one(name: str, kind: str) -> dict[str, Any]:
    (manifest,) = (item for item in manifests(name) if item["kind"] == kind)
    return manifest


def pod(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = one(name, "Deployment")["spec"]["template"]["spec"]
    return spec


def server(name: str) -> dict[str, Any]:
    container: dict[str, Any] = pod(name)["containers"][0]
    return container


def compose() -> dict[str, Any]:
    service: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["triton"]
    return service


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.name.split(".")[0])
def test_the_chart_renders_as_it_did(helm: Path, values: Path) -> None:
    assert rendered(values) == golden(values).read_text(), "look at it, then: python -m tests.deploy.kube"


def test_helm_finds_no_fault_in_it(helm: Path) -> None:
    ended = subprocess.run(
        [helm, "lint", "--strict", CHART, "--values", VALUES[0]], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("version", ["1.30", "1.37"])
@pytest.mark.parametrize("name", ["bucket", "cpu", "gpu", "scaled"])
def test_kubernetes_own_schemas_take_every_object(helm: Path, name: str, version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install 'exeunt[dev]'")
    for item in manifests(name):
        if item["kind"] in CUSTOM:
            with pytest.raises(validate.SchemaNotFoundError):  # a kind that nobody knows is no pass
                validate.validate(item, version, strict=True)
        else:
            validate.validate(item, version, strict=True)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("models.existingClaim=", "existingClaim"),
        ("models.bucket.path=shop/fruit", "/models/bucket/path"),
        ("models.bucket.image=rclone/rclone:latest", "image"),
        ("image.tag=latest", "tag"),
        ("replicas=0", "replicas"),
        ("drainSecond=5", "drainSecond"),
        ("autoscaling.scaleDownSeconds=10", "scaleDownSeconds"),
    ],
)
def test_a_wrong_value_is_refused_by_name(helm: Path, value: str, message: str) -> None:
    line = [helm, "template", CHART, "--set", "models.existingClaim=models", "--set", value]
    ended = subprocess.run(line, capture_output=True, text=True, check=False)
    assert ended.returncode != 0 and message in ended.stderr


def test_ports_and_paths_are_the_supervisors(helm: Path) -> None:
    ours = options([])
    ports = {port["name"]: port["containerPort"] for port in server("cpu")["ports"]}
    assert ports == {"http": ours.http_port, "grpc": ours.grpc_port, "metrics": ours.metrics_port}
    assert {port["name"]: port["port"] for port in one("cpu", "Service")["spec"]["ports"]} == ports
    mounts = {mount["mountPath"]: mount for mount in server("cpu")["volumeMounts"]}
    assert mounts[str(ours.repository)]["readOnly"] and mounts[str(ours.repository)]["subPath"] == "repository"
    assert {str(ours.state_dir), "/tmp", "/dev/shm", str(ours.backend_directory / "python")} < set(mounts)
    assert "subPath" not in server("gpu")["volumeMounts"][0]


def test_a_bucket_is_copied_by_the_real_rclone_to_where_the_server_reads(helm: Path, tmp_path: Path) -> None:
    rclone = shutil.which("rclone")
    if rclone is None:
        pytest.skip("no rclone: apt-get install rclone")
    (fetch,) = (item for item in pod("bucket")["initContainers"] if item["name"] == "models")
    (tmp_path / "bucket/shop/fruit/repository/model").mkdir(parents=True)
    (tmp_path / "bucket/shop/fruit/repository/model/config.pbtxt").write_text("name")
    (path,) = (entry["value"] for entry in fetch["env"] if entry["name"] == "BUCKET_PATH")
    line = [word.replace("$(BUCKET_PATH)", path) for word in fetch["command"]]
    assert line[0] == "rclone" and line[-1] == fetch["volumeMounts"][0]["mountPath"]
    remote = {"RCLONE_CONFIG_BUCKET_TYPE": "alias", "RCLONE_CONFIG_BUCKET_REMOTE": str(tmp_path / "bucket")}
    subprocess.run([rclone, *line[1:-1], tmp_path / "models"], env=remote, check=True)
    assert (tmp_path / "models/model/config.pbtxt").read_text() == "name"
    mount = server("bucket")["volumeMounts"][0]
    assert mount["name"] == fetch["volumeMounts"][0]["name"] and "subPath" not in mount and mount["readOnly"]


def test_who_takes_models_from_a_bucket_may_reach_it(helm: Path) -> None:
    assert {"port": 443, "protocol": "TCP"} in one("bucket", "NetworkPolicy")["spec"]["egress"][0]["ports"]
    assert one("cpu", "NetworkPolicy")["spec"]["egress"] == []


def test_a_headless_service_has_the_port_that_the_balancer_asks(helm: Path) -> None:
    port_match = re.search(r"connect port (\d+)", (ROOT / "deploy/haproxy/haproxy.cfg").read_text())
    (port,) = (port["containerPort"] for port in server("scaled")["ports"] if port["name"] == "health")
    assert one("scaled", "Service")["spec"]["clusterIP"] == "None"
    assert port_match and options(server("scaled")["args"]).health_port == port == int(port_match[1])
    assert options(server("cpu")["args"]).health_port == 0


def test_the_command_is_the_composes_and_its_arguments_are_understood(helm: Path) -> None:
    for name in ("cpu", "gpu"):
        assert server(name)["command"] == compose()["command"][:3]
        options(server(name)["args"])
    assert (
        options(server("cpu")["args"]).gpu_metrics == "false" and options(server("gpu")["args"]).gpu_metrics == "true"
    )
    assert options(server("gpu")["args"]).rate_slots == 2


def test_readiness_is_the_images_healthcheck_and_the_start_has_as_long_as_the_supervisor_gives_it(helm: Path) -> None:
    assert ["CMD", *server("cpu")["readinessProbe"]["exec"]["command"]] == compose()["healthcheck"]["test"]
    startup = server("cpu")["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= options(server("cpu")["args"]).start_s


def test_a_stop_has_time_for_the_endpoints_the_drain_and_tritons_exit(helm: Path) -> None:
    leaves_s = server("cpu")["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed_s = leaves_s + Settings().drain_s + MARGIN_S + EXIT_TIMEOUT_S + 5
    assert pod("cpu")["terminationGracePeriodSeconds"] > needed_s


def test_what_the_chart_takes_without_being_told_is_what_the_code_does(helm: Path) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values["drainSeconds"] == Settings().drain_s
    assert values["startSeconds"] == options([]).start_s
    assert values["sharedMemory"].removesuffix("i").lower() == compose()["shm_size"].split(":-")[1].removesuffix("b}")
    assert values["store"]["port"] == DEFAULT_PORT
    assert one("gpu", "ServiceMonitor")["spec"]["endpoints"][0]["port"] in {
        port["name"] for port in one("gpu", "Service")["spec"]["ports"]
    }


def test_a_bag_that_drains_for_longer_gets_the_time(helm: Path) -> None:
    line = [helm, "template", CHART, "--set", "models.existingClaim=models,drainSeconds=60,preStopSeconds=7"]
    text = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    (deployment,) = (item for item in yaml.safe_load_all(text) if item and item["kind"] == "Deployment")
    grace_s = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace_s > 7 + 60 + MARGIN_S + EXIT_TIMEOUT_S + 5


def test_the_store_is_told_by_variables_that_the_code_reads(helm: Path) -> None:
    variables = {entry["name"]: entry["value"] for entry in server("gpu")["env"]}
    assert set(variables) == {STATE_URL_VARIABLE, PASSWORD_FILE_VARIABLE}
    mounts = {mount["mountPath"] for mount in server("gpu")["volumeMounts"]}
    assert str(Path(variables[PASSWORD_FILE_VARIABLE]).parent) in mounts


def test_a_pod_has_no_rights_that_the_compose_file_does_not_give(helm: Path) -> None:
    user, group = map(int, compose()["user"].split(":"))
    rights = pod("cpu")["securityContext"]
    assert (rights["runAsUser"], rights["runAsGroup"], rights["runAsNonRoot"]) == (user, group, True)
    for container in (*pod("cpu")["containers"], *pod("cpu")["initContainers"]):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is compose()["read_only"] and not security["allowPrivilegeEscalation"]
        assert security["capabilities"]["drop"] == compose()["cap_drop"]
    assert pod("cpu")["automountServiceAccountToken"] is False


def test_an_update_takes_no_replica_away_before_the_next_is_ready(helm: Path) -> None:
    assert one("cpu", "Deployment")["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_gpus_are_asked_for_only_where_they_are_wanted(helm: Path) -> None:
    assert "nvidia.com/gpu" not in server("cpu")["resources"]["limits"]
    assert server("gpu")["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_the_autoscaler_asks_for_metrics_that_exist_and_owns_the_number_of_replicas(helm: Path) -> None:
    triggers = one("scaled", "ScaledObject")["spec"]["triggers"]
    metrics = {name for trigger in triggers for name in re.findall(r"exeunt_\w+", trigger["metadata"]["query"])}
    assert metrics == {"exeunt_waiting_rows", "exeunt_answers_total"} <= set(COUNTERS) | set(GAUGES)
    assert "replicas" not in one("scaled", "Deployment")["spec"]
    assert 'namespace="shop",pod=~"fruit-exeunt-.*"' in triggers[0]["metadata"]["query"]


def test_the_image_is_the_composes() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())["image"]
    assert f"{values['repository']}:{values['tag']}" == re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", compose()["image"])


def test_every_value_has_a_schema() -> None:
    import json

    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    assert set(values) <= set(schema)
    for key, value in values.items():
        if isinstance(value, dict) and "properties" in schema[key]:
            assert set(value) <= set(schema[key]["properties"])
