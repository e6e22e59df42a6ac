"""The compose file's project on the tests' engine, asked as its user asks it."""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import docker as sdk

from tests.containers.engine import Docker
from tests.places import ROOT

if TYPE_CHECKING:
    from docker.models.containers import Container

FILES = "docker-compose.yml", "tests/containers/stand-ins.yml"
PROJECT = "exeunt"  # as the compose file names it
LABEL = f"com.docker.compose.project={PROJECT}"
HTTP, GRPC, METRICS, PROMETHEUS = "127.0.0.1:8000", "127.0.0.1:8001", "127.0.0.1:8002", "127.0.0.1:9090"


class Project:
    """`docker compose` in a folder.

    Args:
        docker: the engine; its environment names the project's files from now on.
        folder: of docker-compose.yml.
        files: beside FILES.
        exported: place for a copy of the volume `models`.

    Attributes:
        folder: as above.
        env: environment for more commands.
        engine: the same engine by its SDK.
    """

    def __init__(self, docker: Docker, folder: Path, *files: str, exported: Path | None = None) -> None:
        docker.env["COMPOSE_FILE"] = ":".join([*FILES, *files])
        self.folder = folder
        self.env = docker.env
        self.engine = sdk.DockerClient(base_url=docker.env["DOCKER_HOST"])
        self._docker = docker
        self._exported = exported

    def __call__(self, *words: str, within_s: float = 600) -> str:
        """Run `docker compose WORDS`; see Docker."""
        return self._docker("compose", *words, cwd=self.folder, within_s=within_s)

    def container(self, service: str) -> Container:
        """A service's only container."""
        (container,) = self.containers(service)
        return container

    def containers(self, service: str) -> list[Container]:
        """Every container of a service, stopped ones included."""
        labels = [LABEL, f"com.docker.compose.service={service}"]
        # compose may be removing one of them while they are looked at
        return self.engine.containers.list(all=True, filters={"label": labels}, ignore_removed=True)

    def models(self) -> str:
        """Folder of the volume `models`, which is made, as compose would make it, where it is not there."""
        labels = {"com.docker.compose.project": PROJECT, "com.docker.compose.volume": "models"}
        return str(self.engine.volumes.create(f"{PROJECT}_models", labels=labels).attrs["Mountpoint"])

    def keep_models(self) -> None:
        """Copy the volume `models`, unless a copy is there."""
        if self._exported and not self._exported.exists():
            subprocess.run(["cp", "-a", self.models(), str(self._exported)], check=True)

    def bring_models(self) -> None:
        """Fill the volume `models` from the copy, if there is one."""
        if self._exported and self._exported.exists():
            subprocess.run(["cp", "-a", f"{self._exported}/.", self.models()], check=True)

    def healthy(self, *services: str) -> bool:
        """Whether these services have containers, and the healthchecks of all of them succeed."""
        by_service = [self.containers(service) for service in services]
        states = [container.attrs["State"] for containers in by_service for container in containers]
        return all(by_service) and all(state.get("Health", {}).get("Status") == "healthy" for state in states)

    def await_healthy(self, *services: str, within_s: float = 180) -> None:
        """Wait until these services' healthchecks succeed."""
        until(lambda: self.healthy(*services), within_s)

    def left(self) -> list[str]:
        """Names of the project's containers, volumes and networks."""
        labelled = {"label": LABEL}
        leftovers = [
            *self.engine.containers.list(all=True, filters=labelled),
            *self.engine.volumes.list(filters=labelled),
        ]
        return sorted(str(item.name) for item in [*leftovers, *self.engine.networks.list(filters=labelled)])


def copy_checkout(folder: Path) -> Path:
    """The files of this checkout that git knows or would, in a folder of their own, which commands may write to."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in filter(None, subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def metrics() -> dict[str, float]:
    """Every sample of the server's metrics, by its name and labels."""
    with urllib.request.urlopen(f"http://{METRICS}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def until(condition: Callable[[], object], within_s: float) -> None:
    """Wait until `condition()` holds; AssertionError after so many seconds."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not within {within_s:g} s"
        time.sleep(0.2)
