"""What docker-compose.gpu.yml changes, as Compose itself merges it, held to a list."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

FILES = "docker-compose.yml", "docker-compose.gpu.yml"
ABSENT = "absent"
DEVICE = {"capabilities": ["gpu"], "driver": "nvidia", "count": -1}  # -1: all
GPUS = {"resources": {"reservations": {"devices": [DEVICE]}}, "placement": {}}
SERVERS = "triton", "replica"


def merged(*files: str) -> dict:
    """The project, all profiles of it, as Compose reads these files."""
    compose = shutil.which("docker-compose", path=str(Path(sys.executable).parent)) or shutil.which("docker-compose")
    if compose is None:
        pytest.skip("docker-compose is not installed: pip install 'exeunt[check]'")
    line = [compose, *(word for name in files for word in ("-f", name)), "--profile", "*", "config", "--format", "json"]
    ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def differences(before: object, after: object, path: str = "") -> dict[str, tuple[object, object]]:
    """Every place where two projects differ, with both values; a list is one value."""
    if before == after:
        return {}
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return {path: (before, after)}
    changes: dict[str, tuple[object, object]] = {}
    for key in before.keys() | after.keys():
        changes |= differences(before.get(key, ABSENT), after.get(key, ABSENT), f"{path}.{key}".lstrip("."))
    return changes


@pytest.fixture(scope="module")
def changed():
    return differences(merged(FILES[0]), merged(*FILES))


def test_the_overlay_adds_one_service_and_changes_three_things_of_each_server(changed):
    expected = {f"services.{name}.{part}" for name in SERVERS for part in ("command", "depends_on.engines", "deploy")}
    assert set(changed) == expected | {"services.engines"}
    assert changed["services.engines"][0] == ABSENT


@pytest.mark.parametrize("name", SERVERS)
def test_a_servers_command_with_gpus_measures_them_and_is_the_same_else(changed, name):
    before, after = changed[f"services.{name}.command"]
    assert after == [word for word in before if word != "--gpu-metrics=false"] != before


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_gets_gpus_and_waits_for_engines_where_they_are_asked_for(changed, name):
    assert changed[f"services.{name}.deploy"] == (ABSENT, GPUS)
    absent, waits = changed[f"services.{name}.depends_on.engines"]
    assert absent == ABSENT and waits["condition"] == "service_completed_successfully"
    assert not waits.get("required", False)  # profile tensorrt alone


def test_the_added_service_is_a_server_in_its_rights(changed):
    engines = changed["services.engines"][1]
    server = merged(FILES[0])["services"]["triton"]
    same = ("security_opt", "cap_drop", "read_only", "user", "image", "pull_policy", "pids_limit", "logging", "init")
    assert {key: engines.get(key) for key in same} == {key: server.get(key) for key in same}
    assert engines["network_mode"] == "none" and engines["profiles"] == ["tensorrt"] and engines["deploy"] == GPUS
