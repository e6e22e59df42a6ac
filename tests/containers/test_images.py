"""What the Dockerfile's targets are, on stand-ins for their bases: small, and without what they do not need."""

import re

import pytest

from tests.containers.stand_ins import PYTHON_TAG, TAGS
from tests.places import ROOT

pytestmark = pytest.mark.containers
SERVER, PERF = f"exeunt/tritonserver:{TAGS['TRITON_TAG']}", f"exeunt/perf:{TAGS['TRITON_SDK_TAG']}"
EXPORT = "exeunt/export:0.1.0"
SERVER_BASE = f"nvcr.io/nvidia/tritonserver:{TAGS['TRITON_TAG']}"
PERF_BASE = f"nvcr.io/nvidia/tritonserver:{TAGS['TRITON_SDK_TAG']}"
EXPORT_BASE = f"python:{PYTHON_TAG}"
BASES = {"server": (SERVER, SERVER_BASE), "perf": (PERF, PERF_BASE), "export": (EXPORT, EXPORT_BASE)}
MOST_MB = {"server": 60, "export": 800}
PAGE = (ROOT / "docs/production.md").read_text()
SAID_MB = {target: int(size) for target, size in re.findall(r"`(server|perf|export)` (\d+) MB", PAGE)}


def size_bytes(docker, image: str) -> int:
    return int(docker("image", "inspect", "-f", "{{.Size}}", image))


@pytest.mark.parametrize("target", BASES)
def test_an_image_adds_to_its_base_what_the_page_says(docker, target):
    added_mb = sum(sign * size_bytes(docker, image) for sign, image in zip((1, -1), BASES[target], strict=True)) / 1e6
    assert added_mb <= MOST_MB.get(target, added_mb)
    assert added_mb == pytest.approx(SAID_MB[target], rel=0.1)


def test_buildkit_builds_the_server_and_nothing_of_the_other_images(docker):
    built = docker.by_buildkit
    if built.why_not:
        pytest.skip(built.why_not)
    assert built.status == 0, built.output[-3000:]
    stages = set(re.findall(r"^#\d+ \[(\w+) +\d+/\d+\]", built.output, re.MULTILINE))
    assert {"wheel", "server"} <= stages and not stages & {"perf", "export"}


@pytest.mark.parametrize("image", [SERVER, PERF, EXPORT])
def test_an_image_runs_as_nobody_special(docker, image):
    assert docker("image", "inspect", "-f", "{{.Config.User}}", image) == "1000:1000"


@pytest.mark.parametrize(("image", "module"), [(SERVER, "torch"), (SERVER, "onnx"), (PERF, "torch"), (EXPORT, "torch")])
def test_an_image_holds_nothing_that_it_does_not_need(docker, image, module):
    code = f"import importlib.util as u; print(u.find_spec({module!r}))"
    assert docker("run", "--rm", "--network", "none", "--entrypoint", "python3", image, "-c", code) == "None"


def test_the_load_tests_image_brings_what_the_verb_imports(docker):
    code = "import matplotlib, prometheus_client, rich, tritonclient.grpc, exeunt.cli.perf, exeunt.measuring.perf"
    rights = ["--network", "none", "--read-only", "--tmpfs", "/tmp"]  # the compose file's
    docker("run", "--rm", *rights, "--entrypoint", "python3", PERF, "-c", code)
