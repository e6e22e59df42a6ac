"""docs/production.md on a host without GPUs: every command of the page, as it stands there and in its order.

A command that is added to the page is run from then on, or named in ELSEWHERE with the reason why not.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from exeunt.errors import ConfigError
from exeunt.measuring import perf_binary
from tests.containers.compose import HTTP, METRICS, PROMETHEUS, until
from tests.containers.page import commands
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag
from tests.places import ROOT

pytestmark = pytest.mark.containers
COMMANDS = commands((ROOT / "docs/production.md").read_text())
UP, SERVE, PROMETHEUS_ALONE = (
    "docker compose up --build",
    "exeunt serve repository --http-port 8000 --grpc-port 8001 --metrics-port 8002",
    "prometheus --config.file=deploy/prometheus/prometheus.yml",
)
STORE = "EXEUNT_STATE_URL=redis://valkey:6379 docker compose --profile store up"
SCALE = "docker compose --profile scale up --scale replica=3 balancer"
PROFILE = "exeunt profile repository --input images.npy --url grpc://127.0.0.1:8001"
ELSEWHERE = {
    "docker compose up": "the page's title; the same with --build comes first",
    "git clone <this repository> exeunt && cd exeunt": "a copy of this checkout is where all else runs",
    "exeunt perf --fetch": "needs PyPI, and this network ends at loopback; .ci/run runs it",
    "exeunt perf filetypes --replay runs/demo/test.npy --concurrency 1:16:5 --rate 10:30:10": (
        "needs the demo's server; tests/measuring runs perf against another"
    ),
    "docker compose --profile tensorrt up": "needs GPUs; test_gpu_overlay.py runs it without them",
    "exeunt gateway model_repository --to-http 127.0.0.1:8000 --to-grpc 127.0.0.1:8001 --http-port 8080 "
    "--grpc-port 8081": "the repository is in a volume here; tests/gateway runs it before a real server",
    "docker compose run --rm export rm -rf /models/repository": "the bag above is to stay; `export` would train again",
    "docker compose --profile observability --profile scale --profile store down -v": (
        "would leave the rest of the page without models; test_compose.py ends with it"
    ),
    "helm install fruit deploy/helm/exeunt --set image.repository=REGISTRY/exeunt-tritonserver "
    "--set models.existingClaim=models": "needs a cluster; tests/deploy/test_helm.py renders it",
}


class Reader:
    """Somebody who types the page's commands, in a folder, and leaves those running that do not end.

    Args:
        project: of the compose file.
        home: folder for what commands keep for their user.
    """

    def __init__(self, project, home: Path) -> None:
        self.project = project
        self.folder = project.folder
        self.env = project.env | {"EXEUNT_STATE_DIR": str(home / "state"), "PERF_CONCURRENCY": "1:2:1"}
        self._running: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}
        self._home = home

    def type(self, line: str) -> str:
        """Run a command to its end; its output. AssertionError where it fails."""
        ended = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        assert ended.returncode == 0, f"{line}: {ended.stdout[-3000:]}{ended.stderr[-3000:]}"
        return ended.stdout + ended.stderr

    def start(self, line: str) -> None:
        """Run a command that does not end by itself."""
        log = self._home / f"{len(self._running)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                # a shell's background jobs ignore Ctrl-C, and these tests may run in one; a reader's commands do not
                ["env", "--default-signal=INT", "bash", "-c", line],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._running[line] = process, log

    def until(self, line: str, condition, within_s: float) -> None:
        """Wait for what a running command is to do; AssertionError if it ends before."""
        process, log = self._running[line]

        def looked_at() -> bool:
            assert process.poll() is None or condition(), f"{line} ended: {log.read_text()[-3000:]}"
            return condition()

        until(looked_at, within_s)

    def said(self, line: str) -> str:
        """Output so far of a running command."""
        return self._running[line][1].read_text(errors="replace")

    def interrupt(self, line: str) -> None:
        """Ctrl-C, then its end."""
        if line in self._running:
            process, _ = self._running.pop(line)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # else it would keep its ports from all that follow
                raise

    def interrupt_all(self) -> None:
        """Ctrl-C in every terminal."""
        for line in list(self._running):
            self.interrupt(line)


@pytest.fixture(scope="module")
def reader(project, tmp_path_factory):
    """A reader with files of their own: BAG.toml and what it names, images.npy."""
    reader = Reader(project, tmp_path_factory.mktemp("home"))
    tiny_bag(project.folder, members=2).rename(project.folder / "BAG.toml")
    np.save(project.folder / "images.npy", noise_rows(64, 7, 32))
    try:
        yield reader
    finally:
        reader.interrupt_all()


def answers(address: str, path: str) -> bool:
    """Whether an HTTP address answers 200."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


def shares() -> bool:
    """Whether the server reaches its store."""
    with urllib.request.urlopen(f"http://{METRICS}/metrics", timeout=10) as answer:
        return 'name="reachable"} 1' in answer.read().decode()


def has_perf_analyzer(reader) -> None:
    try:
        perf_analyzer = perf_binary.find()
    except ConfigError as error:
        pytest.skip(str(error))
    reader.env["PATH"] += f"{os.pathsep}{perf_analyzer.binary.parent}"
    reader.env["LD_LIBRARY_PATH"] = perf_analyzer.environment["LD_LIBRARY_PATH"]


def has_prometheus(reader) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("no Prometheus here: apt-get install prometheus")
    reader.project("--profile", "observability", "stop", "prometheus")


def serves_the_own_bag(reader) -> None:
    reader.project("start")
    reader.project.await_healthy("triton")
    np.save(reader.folder / "images.npy", noise_rows(64, 7, 16))


def keeps_digits(reader) -> None:
    reader.project("run", "--rm", "export", "cp", "-r", "/models/repository", "/models/digits")


def serves_digits_again(reader) -> None:
    reader.interrupt_all()
    again = "rm -rf /models/repository && mv /models/digits /models/repository"
    reader.project("run", "--rm", "export", "sh", "-c", again)


def has_free_ports(reader) -> None:
    reader.interrupt_all()


BEFORE = {
    next(line for line in COMMANDS if line.startswith("perf_analyzer")): has_perf_analyzer,
    next(line for line in COMMANDS if "cp -r /new " in line): keeps_digits,
    PROFILE: serves_the_own_bag,
    SERVE: lambda reader: reader.project("stop"),
    PROMETHEUS_ALONE: has_prometheus,
    SCALE: serves_digits_again,
    STORE: has_free_ports,
}
# commands that do not end, and what is to be seen of them
ENDLESS = {
    UP: lambda reader: reader.project.healthy("triton"),
    "docker compose exec triton exeunt watch digits": lambda reader: (
        "digits" in reader.said("docker compose exec triton exeunt watch digits")
    ),
    SERVE: lambda reader: answers(HTTP, "/v2/health/ready"),
    PROMETHEUS_ALONE: lambda reader: answers(PROMETHEUS, "/-/ready"),
    SCALE: lambda reader: answers(HTTP, "/v2/models/digits"),
    STORE: lambda reader: answers(HTTP, "/v2/health/ready") and shares(),
}
# what is to be seen after a command has ended
AFTER = {
    "docker compose --profile observability up -d": lambda reader: reader.project.await_healthy(
        "prometheus", "grafana"
    ),
    "docker compose restart triton": lambda reader: reader.project.await_healthy("triton"),
    "docker compose stop": lambda reader: reader.interrupt(UP),
}


def test_nothing_is_named_here_that_the_page_does_not_say():
    assert not ({*ELSEWHERE, *BEFORE, *ENDLESS, *AFTER} - set(COMMANDS))


@pytest.mark.parametrize("line", [line for line in COMMANDS if line not in ELSEWHERE])
def test_a_command_of_the_page_does_what_the_page_says(reader, line):
    BEFORE.get(line, lambda reader: None)(reader)
    if line in ENDLESS:
        reader.start(line)
        reader.until(line, lambda: ENDLESS[line](reader), 300)
        if "watch" in line:
            reader.interrupt(line)
    elif line.startswith("export "):
        assert line == "export COMPOSE_FILE=docker-compose.yml"
        assert reader.env["COMPOSE_FILE"].split(":")[0] == "docker-compose.yml"  # the stand-ins' file is beside it
    else:
        assert reader.type(line).strip() or "stop" in line
    AFTER.get(line, lambda reader: None)(reader)


def test_the_load_tests_table_is_there_afterwards(reader):
    table = (reader.folder / "results/perf.md").read_text()
    assert "| digits |" in table and "| digits_full |" in table
