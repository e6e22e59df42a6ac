"""A docker engine of the tests' own, in a network of its own.

Nothing here touches an engine of the host: data, sockets and pid file lie in a folder that goes with the tests, so
that images that are named like public ones never reach a user's store. Where the host runs a containerd, dockerd takes
that one; it has namespaces of its own there. Its bridge is its own, too: it would give `docker0` another address.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.containers.buildkit import Build

CLONE_NEWNET = 0x40000000
BRIDGE_ADDRESS = "198.51.100.1/25"
NAMESPACE = "exeunt-tests"


class UnavailableError(Exception):
    """Something that this machine lacks: an engine that starts, a mirror of Debian's, an index of packages."""


def why_not() -> str:
    """Why no engine can be started here; "" where one can."""
    if os.geteuid() != 0:
        return "a docker engine needs root"
    missing = [tool for tool in ("dockerd", "docker", "mmdebstrap", "ip") if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)} (Debian: docker.io, mmdebstrap, iproute2)" if missing else ""


class Docker:
    """The command line of an engine, with compose as its plugin.

    Args:
        folder: of the engine.

    Attributes:
        env: environment in which `docker` asks this engine.
        by_buildkit: what came of the build by BuildKit, if there was one (buildkit.py).
    """

    by_buildkit: Build

    def __init__(self, folder: Path) -> None:
        plugins = folder / "config" / "cli-plugins"
        plugins.mkdir(parents=True, exist_ok=True)
        compose = shutil.which("docker-compose", path=str(Path(sys.executable).parent))
        if compose is None:
            raise UnavailableError("no docker-compose beside this Python: pip install 'exeunt[check]'")
        (plugins / "docker-compose").unlink(missing_ok=True)
        (plugins / "docker-compose").symlink_to(compose)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.env = os.environ | {
            "PATH": path,
            "DOCKER_HOST": f"unix://{folder / 'docker.sock'}",
            "DOCKER_CONFIG": str(folder / "config"),
            "DOCKER_BUILDKIT": "0",  # what Debian's engine and the plugin have in common
        }

    def __call__(self, *words: str, cwd: Path | None = None, within_s: float = 600) -> str:
        """Run `docker WORDS`; its output. AssertionError, with what it printed, where it fails."""
        ended = subprocess.run(
            ["docker", *words], env=self.env, cwd=cwd, capture_output=True, text=True, check=False, timeout=within_s
        )
        assert ended.returncode == 0, f"docker {' '.join(words)}: {ended.stdout[-3000:]}{ended.stderr[-3000:]}"
        return (ended.stdout + ended.stderr if words[0] == "logs" else ended.stdout).strip()


@contextmanager
def own_network() -> Iterator[None]:
    """A network for this thread, and what it starts, that ends at the loopback interface.

    Published ports are those of the compose file, whatever listens on this machine, and nothing reaches out.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/self/ns/net").open("rb") as former:
        if libc.unshare(CLONE_NEWNET):
            raise UnavailableError(f"no network of its own: {os.strerror(ctypes.get_errno())}")
        try:
            _ip("link", "set", "lo", "up")
            yield
        finally:
            assert libc.setns(former.fileno(), CLONE_NEWNET) == 0


@contextmanager
def _own_bridge() -> Iterator[str]:
    name = f"exeunt{os.getpid()}"
    _ip("link", "add", "name", name, "type", "bridge")
    try:
        _ip("address", "add", BRIDGE_ADDRESS, "dev", name)
        yield name
    finally:
        _ip("link", "delete", name)


def _ip(*words: str) -> None:
    ended = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise UnavailableError(f"ip {' '.join(words)}: {ended.stderr.strip()}")


@contextmanager
def running(folder: Path) -> Iterator[Docker]:
    """An engine until the block ends."""
    with _own_bridge() as bridge:
        yield from _running(folder, bridge)


def _running(folder: Path, bridge: str) -> Iterator[Docker]:
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / "dockerd.log").open("ab")
    line = ["dockerd", "--host", f"unix://{folder / 'docker.sock'}", "--data-root", str(folder / "data")]
    line += ["--exec-root", str(folder / "exec"), "--pidfile", str(folder / "docker.pid")]
    line += ["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
    line += [f"--bridge={bridge}", "--default-address-pool", "base=198.51.100.128/25,size=27"]
    line += [f"--containerd-namespace={NAMESPACE}", f"--containerd-plugins-namespace=plugins.{NAMESPACE}"]
    process = subprocess.Popen(line, stdout=log, stderr=log, start_new_session=True)
    try:
        docker, end = Docker(folder), time.monotonic() + 60
        while True:
            try:
                docker("info")
                break
            except AssertionError:
                if process.poll() is not None or time.monotonic() > end:
                    raise UnavailableError((folder / "dockerd.log").read_text()[-1000:]) from None
                time.sleep(0.3)
        yield docker
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        log.close()
        # the engine leaves its own network mounted, which would keep the folder
        for place in (folder / "exec/netns").glob("*"):
            subprocess.run(["umount", "--lazy", str(place)], check=False, stderr=subprocess.DEVNULL)
