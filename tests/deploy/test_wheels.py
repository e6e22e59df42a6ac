"""Every package that an image gets has a wheel for x86-64 and for arm64: nothing is compiled in a build.

pip is asked what it would install there, from the index that this machine has; without one these skip.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

PYTHON = "3.12"  # of NVIDIA's image and of the Dockerfile's PYTHON_TAG
NEWEST_GLIBC = 36  # 2.36: Debian 12, the oldest of the bases
CONSTRAINTS = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
MACHINES = ["x86_64", "aarch64"]


def pip(machine: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What pip would install on such a machine: wheels only, nothing is written."""
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(5, NEWEST_GLIBC + 1)]
    line = [sys.executable, "-m", "pip", "install", "-qq", "--dry-run", "--ignore-installed", "--report", "-"]
    line += ["--disable-pip-version-check", "--target", str(folder / "nowhere"), "--only-binary=:all:"]
    line += [f"--python-version={PYTHON}", *(f"--platform={item}" for item in [*platforms, f"manylinux2014_{machine}"])]
    return subprocess.run([*line, *words], capture_output=True, text=True, check=False, timeout=240)


@pytest.fixture(scope="module", autouse=True)
def index(tmp_path_factory):
    """Skips where pip reaches no index."""
    process = pip("x86_64", tmp_path_factory.mktemp("index"), "--no-deps", f"numpy=={CONSTRAINTS['numpy']}")
    if process.returncode:
        pytest.skip(f"no index of packages is reached: {process.stderr[-300:]}")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("file", sorted(path.name for path in (ROOT / "deploy").glob("requirements-*.txt")))
def test_every_pinned_requirement_has_a_wheel_whose_hash_is_in_the_file(file, machine, tmp_path):
    ended = pip(machine, tmp_path, "--require-hashes", "-r", str(ROOT / "deploy" / file))
    assert ended.returncode == 0, ended.stderr
    pins = re.findall(r"^([\w-]+)==(\S+)(?! *;)", (ROOT / "deploy" / file).read_text(), re.MULTILINE)
    metadata = [item["metadata"] for item in json.loads(ended.stdout)["install"]]
    wheels = {(re.sub("[._]", "-", about["name"].lower()), about["version"]) for about in metadata}
    assert wheels <= set(pins) and len(wheels) >= len(pins) - 1  # async-timeout: for Python 3.11 alone


def test_a_hash_that_arm64_lacks_is_missed(tmp_path):
    report = pip("aarch64", tmp_path, "--no-deps", f"numpy=={CONSTRAINTS['numpy']}").stdout
    (wheel,) = json.loads(report)["install"]
    text = (ROOT / "deploy/requirements-server.txt").read_text()
    hash_option = f"--hash=sha256:{wheel['download_info']['archive_info']['hashes']['sha256']}"
    assert hash_option in text
    (tmp_path / "cut.txt").write_text(
        text.replace(f"    {hash_option} \\\n", "").replace(f" \\\n    {hash_option}\n", "\n")
    )
    ended = pip("aarch64", tmp_path, "--require-hashes", "-r", str(tmp_path / "cut.txt"))
    assert ended.returncode != 0 and "HASH" in ended.stderr


def test_the_torch_of_the_export_image_has_a_wheel_for_arm64(tmp_path):
    ended = pip(
        "aarch64", tmp_path, "--no-deps", f"torch=={CONSTRAINTS['torch']}"
    )  # it has no hashes: see the Dockerfile
    assert ended.returncode == 0, ended.stderr
