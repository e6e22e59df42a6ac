"""The Dockerfile's targets built for linux/arm64, whose programs this machine runs by qemu.

The base is Debian's Python for arm64. Its packages are unpacked and not configured: seconds here, and half an hour by
qemu. NVIDIA's images have no stand-in that runs, see images/nvidia-arm64.Dockerfile.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tests.containers import buildkit
from tests.containers.engine import Docker, UnavailableError, why_not
from tests.containers.stand_ins import CERTIFICATES, IMAGES, PYTHON_TAG, TAGS

PLATFORM = "linux/arm64"
VARIABLE = "EXEUNT_TEST_ARM64"
REGISTERED = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
PACKAGES = "base-files,bash,ca-certificates,coreutils,dash,findutils,libstdc++6,python3,python3-pip"
TARGETS = "server", "perf", "export"
NVIDIA = "nvcr.io/nvidia/tritonserver"
MOST_S = 3600
# onnxruntime reads which processor it runs on there, and dies of this machine's
CPUINFO = f"--volume={IMAGES / 'cpuinfo-arm64'}:/proc/cpuinfo:ro"
ELF, MACHINE, AARCH64 = b"\x7fELF", slice(18, 20), (183).to_bytes(2, "little")


def why_not_here() -> str:
    """Why nothing is built for arm64 here; "" where it is."""
    if os.environ.get(VARIABLE) != "1":
        return f"takes some ten minutes: {VARIABLE}=1 asks for it"
    if why_not():
        return why_not()
    if not REGISTERED.exists():
        return "this kernel runs no programs for arm64 (Debian: qemu-user-static and binfmt-support)"
    return "" if buildkit.client() else "no BuildKit: the classic builder knows this machine's platform alone"


def tag(target: str) -> str:
    """Name of the image that is built for a target."""
    return f"exeunt/{target}:arm64"


def build_base(docker: Docker, folder: Path) -> None:
    """The public images that the Dockerfile names.

    Raises:
        UnavailableError: Debian's mirror does not answer.
    """
    context = folder / "context"
    shutil.copytree(IMAGES, context)
    shutil.copy(CERTIFICATES, context)
    line = ["mmdebstrap", "--variant=extract", "--architectures=arm64", f"--include={PACKAGES}", "bookworm"]
    ended = subprocess.run([*line, str(context / "base.tar")], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise UnavailableError(f"{' '.join(line)}: {ended.stderr[-1000:]}")
    _build(docker, context, "-f", "debian-arm64.Dockerfile", "-t", "stand-in/debian:bookworm")
    _build(docker, context, "-f", "python.Dockerfile", "-t", f"python:{PYTHON_TAG}")
    for name in ("TRITON_TAG", "TRITON_SDK_TAG"):
        _build(docker, context, "-f", "nvidia-arm64.Dockerfile", "-t", f"{NVIDIA}:{TAGS[name]}")


def build_target(docker: Docker, checkout: Path, target: str) -> None:
    """One of TARGETS, from a checkout."""
    _build(docker, checkout, f"--target={target}", f"--tag={tag(target)}", f"--build-arg=PYTHON_TAG={PYTHON_TAG}")


def _build(docker: Docker, folder: Path, *words: str) -> None:
    line = [buildkit.client(), "build", "--network=host", "--progress=plain", f"--platform={PLATFORM}", *words, "."]
    env = docker.env | {"DOCKER_BUILDKIT": "1"}
    ended = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=MOST_S)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]


def run(docker: Docker, target: str, *words: str, mount: str = "") -> str:
    """A command in a target's image, with the compose file's rights and perhaps a mount HOST:CONTAINER; its output."""
    rights = ["--rm", "--network=none", "--read-only", "--tmpfs=/tmp:mode=1777", "--cap-drop=ALL"]
    line = ["run", f"--platform={PLATFORM}", *rights, CPUINFO, *([f"--volume={mount}"] if mount else [])]
    return docker(*line, "--entrypoint", words[0], tag(target), *words[1:], within_s=MOST_S)


def foreign_binaries(docker: Docker, target: str, folder: Path) -> tuple[int, list[str]]:
    """How many programs and libraries an image holds, and those that are not for arm64."""
    name = docker("create", "--platform", PLATFORM, tag(target))
    try:
        docker("export", "-o", str(folder / "image.tar"), name)
    finally:
        docker("rm", name)
    headers = list(_elf_headers(folder / "image.tar"))
    return len(headers), [path for path, head in headers if head[MACHINE] != AARCH64]


def _elf_headers(tar: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(tar) as files:
        for file in files:
            head = (files.extractfile(file) or io.BytesIO()).read(20) if file.isfile() else b""
            if head.startswith(ELF):
                yield file.name, head
