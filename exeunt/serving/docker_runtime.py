"""The server in a container, for hosts with a docker engine: the image and the rights of docker-compose.yml."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exeunt.errors import ConfigError, ServingError
from exeunt.serving.bags import bag_names
from exeunt.serving.checks.response_cache import refuse_response_caches
from exeunt.serving.launch import HOST, Ports, RunningServer, choose_ports

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

IMAGE_VARIABLE = "EXEUNT_IMAGE"
IMAGE = "exeunt/tritonserver:26.11-py3"  # built by `docker compose build`, never pulled
DEFAULT_HOST = "unix:///var/run/docker.sock"
REPOSITORY, STATE = "/models/repository", "/state"  # in the container
STOP_S = 45  # drain, Triton's own exit, and a margin; then docker kills
SHM_BYTES = 2 * 2**30
PIDS = 4096
PYTHON_BACKEND = "/opt/tritonserver/backends/python"
USER_ID = 1000  # triton-server in NVIDIA's images
NVIDIA = "nvidia"


class DockerServer(RunningServer):
    """A running container; `models` are its bags, and `log` is written when it stops or fails."""

    def __init__(self, container: Container, ports: Ports, log: Path, state_dir: Path, models: list[str]) -> None:
        super().__init__(str(container.name), ports, log, state_dir)
        self.models = models
        self._container = container
        self._removed = False

    @property
    def pid(self) -> int:
        """Process id of the container's first process."""
        return int(self._container.attrs["State"].get("Pid") or 0)

    def kill(self) -> None:
        """End the container now."""
        if not self._removed:
            with _engine_errors(f"did not remove {self.name}"):
                self._container.remove(v=True, force=True)
            self._removed = True

    def watch(self, bags: list[str], say: Callable[[str], None]) -> None:
        """Block until the container ends by itself; the supervisor inside watches the server.

        Raises:
            ServingError: always.
        """
        with _engine_errors(f"lost {self.name}"):
            code = self._container.wait()["StatusCode"]
        raise self.failure(f"container {self.name} ended by itself, status {code}")

    def await_healthy(self, deadline_s: float) -> None:
        """Block until the container's healthcheck, a real inference, succeeds.

        Raises:
            ServingError: it ended, or was not healthy in time.
        """
        end = time.monotonic() + deadline_s
        while True:
            with _engine_errors(f"lost {self.name}"):
                self._container.reload()
            state = self._container.attrs["State"]
            if state.get("Health", {}).get("Status") == "healthy":
                return
            if state["Status"] in ("exited", "dead"):
                raise self.failure(f"container {self.name} did not start, status {state.get('ExitCode')}")
            if time.monotonic() > end:
                raise self.failure(f"container {self.name} was not healthy after {deadline_s:g} s")
            time.sleep(0.5)

    def last_lines(self) -> list[str]:
        """The container's last words."""
        return self._keep_log()[-15:]

    def stop(self) -> None:
        """SIGTERM, on which the supervisor drains; kill after STOP_S; remove. Nothing where `kill` was before."""
        if self._removed:
            return
        with _engine_errors(f"did not stop {self.name}"):
            self._container.stop(timeout=STOP_S)
        self.drained = "exeunt: drained" in self._keep_log()
        self.kill()

    def _keep_log(self) -> list[str]:
        with _engine_errors(f"gave no log of {self.name}"):
            text = self._container.logs().decode(errors="replace")
        self.log.write_text(text, encoding="utf-8")
        return str(text).splitlines()


def container_options(
    repository: Path, state_dir: Path, ports: Ports, gpus: bool, rate_slots: int = 0
) -> dict[str, Any]:
    """Keyword arguments of `docker.containers.create`: those of docker-compose.yml's service `triton`.

    Args:
        repository: on this host, mounted read-only.
        state_dir: on this host, mounted writable.
        ports: on this host's loopback interface.
        gpus: whether to ask for all GPUs.
        rate_slots: see `serve_docker`.
    """
    from docker.types import DeviceRequest, Mount, Ulimit

    owner = os.stat(state_dir)
    return {
        "command": [
            *("python3", "-m", "exeunt.serving.container"),
            f"--gpu-metrics={'true' if gpus else 'false'}",
            f"--rate-slots={rate_slots}",
        ],
        "init": True,
        "user": f"{owner.st_uid}:{owner.st_gid}",
        "volumes": {
            str(repository.resolve()): {"bind": REPOSITORY, "mode": "ro"},
            str(state_dir.resolve()): {"bind": STATE, "mode": "rw"},
        },
        "ports": {"8000/tcp": (HOST, ports.http), "8001/tcp": (HOST, ports.grpc), "8002/tcp": (HOST, ports.metrics)},
        "shm_size": SHM_BYTES,
        "ulimits": [Ulimit(name="stack", soft=67108864, hard=67108864)],
        "tmpfs": {"/tmp": "size=1g,mode=1777"},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "pids_limit": PIDS,
        "read_only": True,
        # of its own: Triton sets the execute bit of its stub at every start
        "mounts": [Mount(target=PYTHON_BACKEND, source=None, type="volume")],
        "stop_signal": "SIGTERM",
        "device_requests": [DeviceRequest(driver=NVIDIA, count=-1, capabilities=[["gpu"]])] if gpus else [],
    }


@contextmanager
def serve_docker(
    repository: Path,
    *,
    http_port: int | None = None,
    grpc_port: int | None = None,
    metrics_port: int | None = None,
    log: Path | None = None,
    state_dir: Path,
    deadline_s: float = 600.0,
    rate_slots: int = 0,
) -> Iterator[DockerServer]:
    """A container over a repository, healthy, until the block ends.

    Args:
        repository: folder of Triton models with a bag.
        http_port: on the loopback interface, or None for a free one; likewise `grpc_port` and `metrics_port`.
        grpc_port: see `http_port`.
        metrics_port: see `http_port`.
        log: file for the container's output; None for one in `state_dir`.
        state_dir: folder of learnt state; made if missing.
        deadline_s: how long until the first inference succeeds.
        rate_slots: ranked segments that run at once, early ones first; 0 = any.

    Raises:
        ConfigError: no docker engine, no image, or the repository is not usable; says what to do.
        ServingError: the container did not get healthy.
    """
    image = os.environ.get(IMAGE_VARIABLE, IMAGE)
    with contextlib.closing(connect()) as client:
        models = bag_names(repository)
        refuse_response_caches(repository)
        _require_image(client, image)
        own_state(state_dir)
        ports = choose_ports(http_port, grpc_port, metrics_port)
        with _engine_errors("did not say what it can run"):
            gpus = NVIDIA in client.info().get("Runtimes", {})
        options = container_options(repository, state_dir, ports, gpus, rate_slots)
        server = DockerServer(
            _started(client, image, options), ports, log or state_dir / "container.log", state_dir, models
        )
        try:
            server.await_healthy(deadline_s)
            yield server
        finally:
            server.stop()


@contextmanager
def _engine_errors(what: str, but: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Turn what the docker SDK raises, `but` one, into a ServingError: "the engine ", what it did, its own words."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException  # what the SDK lets through where the connection fails

    try:
        yield
    except but:
        raise
    except (DockerException, RequestException) as error:
        words = error.explanation if isinstance(error, APIError) else str(error)
        raise ServingError(f"--runtime docker: the engine {what}: {words}") from None


def _started(client: DockerClient, image: str, options: Mapping[str, Any]) -> Container:
    """A container that the engine has started; one that it cannot start is removed.

    Raises:
        ServingError: the engine refused; its own words.
    """
    with _engine_errors(f"did not start {image}"):
        container = client.containers.create(image, **options)
        try:
            container.start()
        except BaseException:
            # the first error is the one to show
            with contextlib.suppress(ServingError), _engine_errors(f"did not remove {container.name}"):
                container.remove(v=True, force=True)
            raise
    return container


def connect() -> DockerClient:
    """The docker engine of this host ($DOCKER_HOST, or its socket).

    Raises:
        ConfigError: there is none that answers.
    """
    import docker
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    host = os.environ.get("DOCKER_HOST") or DEFAULT_HOST
    socket = host.removeprefix("unix://")
    if socket != host and not os.path.exists(socket):
        where = "DOCKER_HOST names another (`docker context ls` shows them)"
        raise ConfigError(
            f"--runtime docker: no docker engine here, {socket} does not exist; {where}; or use --runtime pip"
        )
    try:
        client = docker.from_env()
        client.ping()
    except (DockerException, RequestException) as error:
        message = f"no docker engine answers on {host} ({error})"
        raise ConfigError(f"--runtime docker: {message}; use --runtime pip") from None
    return client


def _require_image(client: DockerClient, image: str) -> None:
    from docker.errors import NotFound

    try:
        with _engine_errors(f"did not look for {image}", but=NotFound):
            client.images.get(image)
    except NotFound:
        how = f"`docker compose build triton` makes it; {IMAGE_VARIABLE} names another; or use --runtime pip"
        raise ConfigError(f"--runtime docker: no image {image} here: {how}") from None


def own_state(state_dir: Path) -> None:
    """Make the folder; as root, give it to the container's user, which must not be root.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--state-dir {state_dir}: cannot be made ({error.strerror}); name another one") from None
    if os.stat(state_dir).st_uid == 0:
        with contextlib.suppress(PermissionError):
            os.chown(state_dir, USER_ID, USER_ID)
