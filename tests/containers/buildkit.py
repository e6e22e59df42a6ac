"""The Dockerfile by BuildKit, which builds the stages that a target needs and no others; all else here is the classic
builder's work, which every engine has."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.containers.engine import Docker
from tests.containers.stand_ins import PYTHON_TAG

DEBIANS_DOCKER = "/usr/bin/docker"
LAST_WITH_ITS_OWN = 22  # release of docker's command line; later ones ask a plugin, buildx, for BuildKit
TARGET, TAG = "server", "exeunt/by-buildkit:1"


@dataclass(frozen=True)
class Build:
    """What came of it.

    Attributes:
        why_not: no BuildKit here; "" where there is.
        status: exit status of the build.
        output: what it printed: a line for every step, with its stage.
    """

    why_not: str = ""
    status: int = 0
    output: str = ""


def client() -> str:
    """A docker command that can ask an engine for BuildKit; "" where there is none."""
    for command in filter(None, (shutil.which("docker"), shutil.which(DEBIANS_DOCKER))):
        version_text = subprocess.run([command, "--version"], capture_output=True, text=True, check=False).stdout
        release = re.search(r"version (\d+)", version_text)
        plugin = subprocess.run([command, "buildx", "version"], capture_output=True, check=False)
        if plugin.returncode == 0 or (release and int(release[1]) <= LAST_WITH_ITS_OWN):
            return command
    return ""


def build(docker: Docker, checkout: Path) -> Build:
    """Build the server's image from a checkout, by an engine that reaches an index of Python packages."""
    binary = client()
    if not binary:
        return Build(f"no BuildKit: neither docker's plugin buildx nor Debian's own {DEBIANS_DOCKER} (docker.io)")
    line = [binary, "build", "--network=host", "--progress=plain", "--target", TARGET, "--tag", TAG]
    line += ["--build-arg", f"PYTHON_TAG={PYTHON_TAG}", "."]
    env = docker.env | {"DOCKER_BUILDKIT": "1"}
    ended = subprocess.run(line, cwd=checkout, env=env, capture_output=True, text=True, check=False, timeout=600)
    return Build("", ended.returncode, ended.stdout + ended.stderr)
