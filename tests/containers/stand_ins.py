"""Images from Debian and PyPI alone, in place of the public ones that the Dockerfile and docker-compose.yml name.

They show that every target builds, and that what is started, answers, is watched and stops is what the compose file
says. They show nothing about NVIDIA's own libraries, nor about Grafana: no package brings it, so its stand-in only
looks for what Grafana would look for. Each says in its log which image it stands for, and what it is.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.containers.engine import Docker, UnavailableError
from tests.places import ROOT

PYTHON = "3.11"  # of Debian 12
PYTHON_TAG = "3.11-slim-bookworm"
# of all of them together, but for Prometheus, which is larger than the rest: apt is slow to start
PACKAGES = "ca-certificates,haproxy,libb64-0d,libpython3.11,libssl3,python3,python3-pip,redis-server,wget"
LEFT_OUT = ("doc", "info", "locale", "man")  # of /usr/share
IMAGES = Path(__file__).parent / "images"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
CONSTRAINTS = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
TAGS = dict(re.findall(r"^(\w+_TAG)=(\S+)", (ROOT / ".env.example").read_text(), re.MULTILINE))
# what the stand-in for Triton's image holds
WHEELS = [f"{name}=={CONSTRAINTS[name]}" for name in ("nvidia-pytriton", "onnxruntime", "protobuf", "numpy")]
WHEELS += ["flatbuffers", "packaging"]
STAND_INS = {  # public image: Dockerfile of its stand-in
    f"nvcr.io/nvidia/tritonserver:{TAGS['TRITON_TAG']}": "tritonserver.Dockerfile",
    f"nvcr.io/nvidia/tritonserver:{TAGS['TRITON_SDK_TAG']}": "sdk.Dockerfile",
    f"prom/prometheus:{TAGS['PROMETHEUS_TAG']}": "prometheus.Dockerfile",
    f"grafana/grafana:{TAGS['GRAFANA_TAG']}": "grafana.Dockerfile",
    f"valkey/valkey:{TAGS['VALKEY_TAG']}": "valkey.Dockerfile",
    f"haproxy:{TAGS['HAPROXY_TAG']}": "haproxy.Dockerfile",
}


def build_stand_ins(docker: Docker, folder: Path) -> None:
    """Every image of STAND_INS, and the public Python image, unless they are there.

    Args:
        docker: of an engine that reaches Debian's mirror and an index of Python packages.
        folder: to work in.

    Raises:
        UnavailableError: one of them does not answer.
    """
    if not set(STAND_INS) - set(docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()):
        return
    context = folder / "context"
    shutil.copytree(IMAGES, context)
    shutil.copytree(ROOT / "python_backends/exeunt_backends/onnxruntime", context / "onnxruntime")
    shutil.copy(CERTIFICATES, context)  # this machine's own, perhaps with a proxy's
    tar = folder / "base.tar"
    left_out = (f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT)
    with ThreadPoolExecutor() as pool:
        base = pool.submit(
            _run, "mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", *left_out, "bookworm", str(tar)
        )
        _download(context / "wheels", WHEELS)
        base.result()
    docker("import", str(tar), "stand-in/debian:bookworm")
    docker("build", "-q", "-f", "python.Dockerfile", "-t", f"python:{PYTHON_TAG}", ".", cwd=context)
    for image, file in STAND_INS.items():
        named = f"--build-arg=IMAGE={image}"
        docker("build", "-q", "--network=host", "-f", file, named, "-t", image, ".", cwd=context)


def _download(folder: Path, requirements: list[str]) -> None:
    _pip("download", "-q", "-d", str(folder), *requirements)


def _pip(verb: str, *words: str) -> str:
    return _run(
        *(sys.executable, "-m", "pip", verb, "--no-deps", "--only-binary=:all:", "--python-version", PYTHON), *words
    )


def _run(*words: str) -> str:
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise UnavailableError(f"{' '.join(words)}: {ended.stderr[-1000:]}")
    return ended.stdout
