"""Every target of the Dockerfile for linux/arm64, run by qemu: EXEUNT_TEST_ARM64=1 asks for it (arm64.py)."""

from __future__ import annotations

import subprocess

import pytest

from tests.containers import arm64
from tests.containers.conftest import engine_folder
from tests.containers.engine import UnavailableError, running
from tests.export.tiny import tiny_bag

pytestmark = pytest.mark.containers
MODULES = {
    "server": "exeunt.serving.container, exeunt.serving.probe, exeunt.hosting.host, exeunt_backends, redis",
    "perf": "matplotlib, rich, exeunt.cli.perf, exeunt.measuring.perf",
    "export": "sklearn, onnx, onnxruntime, exeunt_export.export_bag",
}


@pytest.fixture(scope="module")
def engine(checkout, tmp_path_factory):
    """An engine of its own, with the bases for arm64 under the names of the public images, and every target."""
    if arm64.why_not_here():
        pytest.skip(arm64.why_not_here())
    try:
        with engine_folder() as folder, running(folder / "arm64") as docker:
            arm64.build_base(docker, tmp_path_factory.mktemp("arm64"))
            for target in arm64.TARGETS:
                arm64.build_target(docker, checkout, target)
            yield docker
    except UnavailableError as error:
        pytest.skip(f"no docker engine, or nothing to build from: {error}")


@pytest.mark.parametrize("target", arm64.TARGETS)
def test_an_image_is_for_arm64(engine, target):
    platform = engine("image", "inspect", "-f", "{{.Os}}/{{.Architecture}}", arm64.tag(target))
    assert platform == arm64.PLATFORM


@pytest.mark.parametrize("target", arm64.TARGETS)
def test_an_image_holds_no_program_for_another_machine(engine, target, tmp_path):
    count, foreign = arm64.foreign_binaries(engine, target, tmp_path)
    assert count > 100 and not foreign


@pytest.mark.parametrize("target", arm64.TARGETS)
def test_what_an_image_is_for_can_be_imported_there(engine, target):
    code = f"import platform, {MODULES[target]}; print(platform.machine())"
    assert arm64.run(engine, target, "python3", "-c", code).endswith("aarch64")


def test_a_bag_is_exported_and_checked_there(engine, tmp_path):
    bag = tiny_bag(tmp_path, members=2)
    subprocess.run(["chmod", "-R", "a+rwX", str(tmp_path)], check=True)
    for line in (["export", f"/bag/{bag.name}", "-o", "/bag/repository"], ["check", "/bag/repository"]):
        arm64.run(engine, "export", "exeunt", *line, mount=f"{tmp_path}:/bag")
