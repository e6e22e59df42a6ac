"""What a tritonserver is started with: name, ports, folders, options."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from exeunt.errors import ConfigError, ServingError

HOST = "127.0.0.1"
SHM_REGION_BYTES = 2**20  # the Python backend's default for one process; it grows with the batches
EXIT_TIMEOUT_S = 2  # after the drain nothing of ours is in flight, and stubs take a second each to unload
SLOT = "slot"  # resource that `exeunt export --rank-segments` gives every segment
ADMIN_HEADER = "exeunt-admin"
SPARE_THREADS = 32  # of the Python backend's pool, beyond one per ticket: responses are sent from the same pool


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports on the loopback interface."""

    http: int
    grpc: int
    metrics: int


class RunningServer:
    """A server that was started here, whatever runs it.

    Attributes:
        name: its unique id, or that of its container.
        http_url: "127.0.0.1:PORT", as tritonclient.http takes it.
        grpc_url: "127.0.0.1:PORT", as tritonclient.grpc takes it.
        ports: of HTTP, gRPC and metrics.
        metrics_url: "http://127.0.0.1:PORT/metrics".
        log: file of its output.
        state_dir: folder of what its bags have learnt.
        models: names of what it serves.
        drained: after the stop, whether every exit controller said that nothing was in flight any more.
    """

    def __init__(self, name: str, ports: Ports, log: Path, state_dir: Path) -> None:
        self.name = name
        self.http_url = f"{HOST}:{ports.http}"
        self.grpc_url = f"{HOST}:{ports.grpc}"
        self.ports = (ports.http, ports.grpc, ports.metrics)
        self.metrics_url = f"http://{HOST}:{ports.metrics}/metrics"
        self.log = log
        self.state_dir = state_dir
        self.models: list[str] = []
        self.drained = False

    def last_lines(self) -> list[str]:
        """What its output says of a failure."""
        raise NotImplementedError

    def failure(self, what: str) -> ServingError:
        """An error that shows what the output says."""
        lines = "\n".join(f"  {line}" for line in self.last_lines())
        return ServingError(f"{what}:\n{lines}\nwhole log: {self.log}")


def check_shared_memory(models: int, folder: Path = Path("/dev/shm")) -> None:
    """Raise ConfigError unless shared memory holds the first region of every model's process, and as much again.

    Triton says nothing useful when it does not; containers get 64 MB by default.
    """
    file_system = os.statvfs(folder)
    free = file_system.f_bavail * file_system.f_frsize
    if free < 2 * models * SHM_REGION_BYTES:
        needed_mb = 2 * models * SHM_REGION_BYTES // 2**20
        raise ConfigError(
            f"{folder}: {free // 2**20} MB free; {models} models need {needed_mb} MB and more with their batches; "
            "in a container, start it with --shm-size=1g"
        )


def choose_ports(http: int | None, grpc: int | None, metrics: int | None) -> Ports:
    """The given ports, and free ones for those that are None.

    Raises:
        ConfigError: a given port is taken, or two are the same.
    """
    table = {"--http-port": http, "--grpc-port": grpc, "--metrics-port": metrics}
    for option, port in table.items():
        if port is None:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except (OSError, OverflowError) as error:
                what = f"{HOST}:{port} cannot be had ({error}); name a free port"
                raise ConfigError(f"{option} = {port}: {what}") from None
    named = [port for port in table.values() if port is not None]
    if len(set(named)) < len(named):
        raise ConfigError(f"{', '.join(table)} = {', '.join(map(str, named))}; allowed: ports that differ")
    free = iter(_free_ports(3, without=named))
    return Ports(*(next(free) if port is None else port for port in table.values()))


def _free_ports(count: int, without: Iterable[int]) -> list[int]:
    """Ports that nobody listens on now. All probes stay open until the last has its port, so the ports differ."""
    probes = [socket.socket() for _ in range(count + 3)]
    try:
        for probe in probes:
            probe.bind((HOST, 0))
        ports = [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
    return [port for port in ports if port not in set(without)][:count]


def shut_flags(key: str, also: str = "") -> dict[str, str]:
    """Options that shut the APIs by which a stranger could map a backend's memory, or fill the disk.

    Args:
        key: opens them, in the header `exeunt-admin`; nobody needs to know it.
        also: further APIs, "model-repository".
    """
    shut = ",".join(filter(None, ("shared-memory", "trace", "logging", also)))
    value = f"{shut}:{ADMIN_HEADER}={key}"
    return {"http-restricted-api": value, "grpc-restricted-protocol": value}


def rate_flags(slots: int) -> dict[str, str]:
    """Options that let `slots` ranked segments run at a time, early ones first; none for 0."""
    if not slots:
        return {}
    return {"rate-limit": "execution_count", "rate-limit-resource": f"{SLOT}:{slots}"}


def command(
    binary: Path,
    *,
    name: str,
    repository: Path,
    backends: Path,
    ports: Ports,
    max_tickets: int,
    rate_slots: int = 0,
    address: str = HOST,
    also_shut: str = "",
) -> list[str]:
    """Command line of tritonserver; every flag that matters is explicit.

    Args:
        binary: the executable.
        name: unique name: the server's id, so that a readiness poll cannot be answered by another server, and the
            prefix of its shared memory.
        repository: model repository.
        backends: backend directory.
        ports: where to listen.
        max_tickets: most BLS calls in flight of any exit controller; each holds a thread of the Python backend's pool.
        rate_slots: segments that run at once, early ones first (export --rank-segments); 0 = as many as there are.
        address: of the interface to listen on.
        also_shut: see `shut_flags`.
    """
    shut = shut_flags(os.urandom(16).hex(), also_shut)
    return [
        str(binary),
        f"--id={name}",
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        *(f"--{protocol}-address={address}" for protocol in ("http", "grpc", "metrics")),
        f"--http-port={ports.http}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-port={ports.metrics}",
        f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
        "--disable-auto-complete-config",  # configs are complete; and each model would start a second stub for it
        "--strict-readiness=true",
        f"--backend-config=python,shm-region-prefix-name={name}",
        # each BLS call holds a thread of this pool, and responses are sent from the same one
        f"--backend-config=python,thread-pool-size={max_tickets + SPARE_THREADS}",
        *(f"--{key}={value}" for key, value in (shut | rate_flags(rate_slots)).items()),
    ]
