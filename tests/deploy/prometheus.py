"""A real Prometheus on the loopback interface, scraping what it is told to, with the rules of deploy/."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from exeunt.serving.launch import choose_ports
from tests.places import ROOT

EVERY_S = 1
RULE_FILES = "rules.yml", "alerts.yml"


def rules_of_the_files() -> set[str]:
    """Names of the rules and alerts in deploy/prometheus."""
    files = [yaml.safe_load((ROOT / "deploy/prometheus" / name).read_text()) for name in RULE_FILES]
    return {
        rule.get("record") or rule["alert"] for file in files for group in file["groups"] for rule in group["rules"]
    }


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus; `url` without a slash at its end."""

    url: str

    def api(self, path: str, **parameters: str) -> Any:
        """`data` of an API answer; an error of the query is raised."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Samples of an instant query, now."""
        return self.api("query", query=expression)["result"]

    def jobs_up(self) -> list[str]:
        """The job of every target that was reached when it was last scraped, one entry per target, in order."""
        targets = self.api("targets")["activeTargets"]
        return sorted(target["labels"]["job"] for target in targets if target["health"] == "up")

    def rules(self) -> dict[str, str]:
        """Health of every rule and alert that is loaded, by name: "ok" once it was evaluated without an error."""
        return {rule["name"]: rule["health"] for group in self.api("rules")["groups"] for rule in group["rules"]}


@contextmanager
def running_prometheus(target: str, folder: Path) -> Iterator[Prometheus]:
    """Debian's Prometheus with deploy/prometheus, scraping `target` as the job `triton` every second."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no Prometheus here: apt-get install prometheus")
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    config["global"] = {"scrape_interval": f"{EVERY_S}s", "evaluation_interval": f"{EVERY_S}s"}
    config["scrape_configs"] = [{"job_name": "triton", "static_configs": [{"targets": [target]}]}]
    config["rule_files"] = [str(ROOT / "deploy/prometheus" / name) for name in config["rule_files"]]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{choose_ports(None, None, None).http}"
    line = [binary, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*line, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        _await_ready(f"http://{address}", process)
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait(20)


def _await_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, "Prometheus ended"
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError("Prometheus is not ready")
