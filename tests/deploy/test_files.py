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
SERVICES = COMPOSE["services"]
SERVERS = ("triton", "triton-cpu")


def tool(name: str) -> str:
    """A validator of the extra `check`, beside this Python or on PATH."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: pip install 'exeunt[check]' (promtool: apt-get install prometheus)")
    return found


@pytest.mark.parametrize(
    "line",
    [
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"],
        ["hadolint", "Dockerfile"],
        ["yamllint", "--strict", "docker-compose.yml", "deploy"],
        ["promtool", "check", "config", "deploy/prometheus/prometheus.yml"],
        ["promtool", "test", "rules", "deploy/prometheus/alerts_test.yml"],
    ],
    ids=lambda line: " ".join(line[:3]),
)
def test_its_own_validator_accepts_it(line):
    done = subprocess.run([tool(line[0]), *line[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


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


def test_every_image_is_pinned():
    items = [service["image"] for service in SERVICES.values()]
    items += re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert all(":" in image and not image.endswith(":latest") for image in items), items


def test_server_and_load_test_come_from_the_same_triton_release():
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert defaults["TRITON_SDK_TAG"] == f"{defaults['TRITON_TAG']}-sdk"
    assert tuple(map(int, defaults["TRITON_TAG"].split("-")[0].split("."))) >= (25, 7)  # CVE-2025-23310 and others


def test_every_variable_of_the_compose_file_is_explained_with_its_default():
    table = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", (ROOT / "docker-compose.yml").read_text()))
    assert used == {name: value for name, value in table.items() if name != "COMPOSE_PROFILES"}
    assert (ROOT / ".env").read_text().splitlines()[-1] == f"COMPOSE_PROFILES={table['COMPOSE_PROFILES']}"


def test_a_bare_up_starts_export_and_the_gpu_server_alone():
    started = {name for name, service in SERVICES.items() if "gpu" in service["profiles"]}
    assert started == {"export", "triton"}
    assert {name for name, service in SERVICES.items() if "cpu" in service["profiles"]} == {"export", "triton-cpu"}


def test_only_what_runs_on_gpus_asks_for_the_nvidia_runtime():
    assert [name for name, service in SERVICES.items() if "deploy" in service] == ["triton", "engines"]
    devices = SERVICES["triton"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices[0]["capabilities"] == ["gpu"] and devices[0]["driver"] == "nvidia"


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_has_rights_it_does_not_need(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].split(":")[0] not in ("0", "root")
    for port in service.get("ports", ()):
        assert port.startswith("${BIND_ADDRESS:-127.0.0.1}:")


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_reads_models_and_writes_state(name):
    named = [volume for volume in SERVICES[name]["volumes"] if ":" in volume]
    assert named == ["models:/models:ro", "state:/state"]


@pytest.mark.parametrize("name", SERVERS)
def test_a_stop_leaves_time_to_drain(name):
    from exeunt.serving.drain import MARGIN_S
    from exeunt.serving.launch import EXIT_TIMEOUT_S
    from exeunt.settings import Settings

    needed_s = Settings().drain_s + MARGIN_S + EXIT_TIMEOUT_S + 5
    assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > needed_s


def test_the_images_healthcheck_is_the_composes():
    found = re.search(r"HEALTHCHECK .*?CMD (\[.*?\])", (ROOT / "Dockerfile").read_text(), re.DOTALL)
    assert found and ["CMD", *json.loads(found[1])] == SERVICES["triton"]["healthcheck"]["test"]


def test_every_mounted_file_and_every_volume_exists():
    for service in SERVICES.values():
        for source in (volume.split(":")[0] for volume in service.get("volumes", ())):
            if not source.startswith("/"):  # one without a name lies in the image
                assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]


def test_what_the_images_copy_is_in_the_build_context():
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    lines = re.findall(r"^COPY (?!--from)(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = [item for line in lines for item in line.split()[:-1] if not item.startswith("--")]
    assert sources and set(sources) == set(kept)
    assert all((ROOT / item).exists() for item in kept)


def test_the_commands_inside_the_containers_parse(monkeypatch):
    from exeunt.cli.main import parser
    from exeunt.serving.container import options

    for name in SERVERS:
        assert options(SERVICES[name]["command"][3:]).repository == Path("/models/repository")
    perf = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word) for word in SERVICES["perf"]["command"]]
    assert parser().parse_args(perf[1:]).name == "digits"
