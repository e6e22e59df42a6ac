"""The server's container without a container: its command, on the pip wheel's Triton."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from exeunt.serving.backends import assemble, environment, find_wheel
from exeunt.serving.launch import Ports, choose_ports

PROBE_EVERY_S = 1
READY = "ready: a real inference succeeded"


@dataclass(frozen=True)
class Container:
    """What runs.

    Attributes:
        process: the supervisor, `python3 -m exeunt.serving.container`.
        ports: of tritonserver.
        log: output of both.
    """

    process: subprocess.Popen[bytes]
    ports: Ports
    log: Path

    def said(self) -> list[str]:
        """Lines of the supervisor itself."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line.removeprefix("exeunt: ") for line in lines if line.startswith("exeunt: ")]

    def stub_of(self, model: str) -> int:
        """Process id of the stub that runs `model`."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                text = (folder / "cmdline").read_bytes().decode()
            except OSError:
                continue
            if "triton_python_backend_stub" in text and f"/{model}/" in text and self._is_ours(int(folder.name)):
                return int(folder.name)
        raise AssertionError(f"no stub of {model}")

    def _is_ours(self, process: int) -> bool:
        while process > 1:
            stat = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
            process = int(stat[1])
            if process == self.process.pid:
                return True
        return False


@contextmanager
def running_container(
    repository: Path,
    folder: Path,
    *options: str,
    address: str = "127.0.0.1",
    ports: Ports | None = None,
    backends: dict[str, Path] | None = None,
) -> Iterator[Container]:
    """The supervisor over a repository, its first inference done; ended with the block.

    Args:
        repository: what is served.
        folder: for its log and, unless `options` name another, its state.
        options: further ones of the supervisor.
        address: where it listens.
        ports: of tritonserver; None for free ones of 127.0.0.1.
        backends: name -> folder of backends in place of ours.
    """
    wheel = find_wheel()
    ports = ports or choose_ports(None, None, None)
    line = [
        *(sys.executable, "-m", "exeunt.serving.container"),
        *(f"--repository={repository}", f"--state-dir={folder / 'state'}", f"--tritonserver={wheel.binary}"),
        f"--backend-directory={assemble(folder / 'backends', wheel, backends)}",
        *(f"--http-port={ports.http}", f"--grpc-port={ports.grpc}", f"--metrics-port={ports.metrics}"),
        *(f"--address={address}", "--gpu-metrics=false", f"--probe-every-s={PROBE_EVERY_S}", *options),
    ]
    log = folder / "container.log"
    with log.open("wb") as output:
        process = subprocess.Popen(line, env=os.environ | environment(wheel), stdout=output, stderr=output)
    container = Container(process, ports, log)
    try:
        until(lambda: READY in container.said() or process.poll() is not None, 120)
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        yield container
    finally:
        process.terminate()
        process.wait(60)


def until(condition, most_s: float) -> None:
    """Wait until `condition()` holds, at most so many seconds."""
    end = time.monotonic() + most_s
    while not condition():
        assert time.monotonic() < end, f"not within {most_s:g} s"
        time.sleep(0.05)
