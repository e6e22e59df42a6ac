"""A docker engine of the tests' own, and images from Debian and PyPI alone that stand in for public ones.

Nothing here touches an engine of the host: data, sockets and pid file lie in a folder that goes with the tests, so
that images that are named like public ones never reach a user's store. What runs is a stand-in: Triton 2.51 of a pip
wheel in place of NVIDIA's image, without GPU backends. It shows that the Dockerfile builds, and that the container
starts, answers and stops as the compose file has it; it shows nothing about NVIDIA's own libraries.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.places import ROOT

PYTHON_TAG = "3.11-slim-bookworm"
PACKAGES = "ca-certificates,python3,python3-pip,libpython3.11"
IMAGES = Path(__file__).parent / "images"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# what the stand-in for Triton's image holds, as constraints.txt pins it
WHEELS = (
    "nvidia-pytriton==0.7.0",
    "onnxruntime==1.31.1",
    "protobuf==6.33.6",
    "numpy==1.26.4",
    "flatbuffers",
    "packaging",
)


class UnavailableError(Exception):
    """Something that this machine lacks: an engine that starts, a mirror of Debian's, an index of packages."""


def why_not() -> str:
    """Why no engine can be started here; "" where one can."""
    if os.geteuid() != 0:
        return "a docker engine needs root"
    missing = [tool for tool in ("dockerd", "docker", "mmdebstrap") if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)} (Debian: docker.io, mmdebstrap)" if missing else ""


class Docker:
    """The command line of an engine.

    Args:
        socket: of the engine.
    """

    def __init__(self, socket: Path) -> None:
        self.url = f"unix://{socket}"
        self._env = os.environ | {"DOCKER_HOST": self.url, "DOCKER_BUILDKIT": "0"}

    def __call__(self, *words: str, cwd: Path | None = None) -> str:
        """Run `docker WORDS`; its output. AssertionError, with what it said, where it fails."""
        ended = subprocess.run(["docker", *words], env=self._env, cwd=cwd, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"docker {' '.join(words)}: {ended.stdout[-3000:]}{ended.stderr[-3000:]}"
        return (ended.stdout + ended.stderr if words[0] == "logs" else ended.stdout).strip()


@contextmanager
def running(folder: Path) -> Iterator[Docker]:
    """An engine until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    socket, log = folder / "docker.sock", (folder / "dockerd.log").open("wb")
    line = [
        "dockerd",
        "--data-root",
        str(folder / "data"),
        "--exec-root",
        str(folder / "exec"),
        "-H",
        f"unix://{socket}",
    ]
    line += ["--pidfile", str(folder / "docker.pid"), "--iptables=false", "--ip6tables=false", "--ip-forward=false"]
    line += ["--ip-masq=false", "--bip=198.51.100.1/25", "--default-address-pool", "base=198.51.100.128/25,size=27"]
    process = subprocess.Popen(line, stdout=log, stderr=log, start_new_session=True)
    try:
        docker, end = Docker(socket), time.monotonic() + 60
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


def build(docker: Docker, folder: Path, triton_tag: str) -> str:
    """The stand-ins, and on them the server image of the Dockerfile; the image's name."""
    _base(docker, folder)
    _tritonserver(docker, folder / "tritonserver", triton_tag)
    image = f"exeunt/tritonserver:{triton_tag}"
    arguments = ["--build-arg", f"PYTHON_TAG={PYTHON_TAG}", "--build-arg", f"TRITON_TAG={triton_tag}"]
    docker("build", "-q", "--network=host", "--target", "server", *arguments, "-t", image, ".", cwd=ROOT)
    return image


def _base(docker: Docker, folder: Path) -> None:
    tar, context = folder / "base.tar", folder / "base"
    line = ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(tar)]
    ended = subprocess.run(line, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise UnavailableError(f"mmdebstrap: {ended.stderr[-1000:]}")
    docker("import", str(tar), "stand-in/debian:bookworm")
    context.mkdir()
    shutil.copy(CERTIFICATES, context)  # this machine's own, perhaps with a proxy's
    shutil.copy(IMAGES / "python.Dockerfile", context / "Dockerfile")
    docker("build", "-q", "-t", f"python:{PYTHON_TAG}", ".", cwd=context)


def _tritonserver(docker: Docker, context: Path, tag: str) -> None:
    shutil.copytree(IMAGES, context)
    shutil.copytree(ROOT / "python_backends/exeunt_backends/onnxruntime", context / "onnxruntime")
    line = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--python-version", "3.11"]
    line += ["--only-binary=:all:", "-d", str(context / "wheels"), *WHEELS]
    ended = subprocess.run(line, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise UnavailableError(f"pip download: {ended.stderr[-1000:]}")
    name = f"nvcr.io/nvidia/tritonserver:{tag}"
    base = f"BASE=python:{PYTHON_TAG}"
    docker("build", "-q", "-f", "tritonserver.Dockerfile", "--build-arg", base, "-t", name, ".", cwd=context)
