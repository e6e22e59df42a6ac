"""The tests' own engine beside one that the host may have."""

import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.containers.engine import own_network, running, why_not

pytestmark = pytest.mark.containers
HOSTS_BRIDGE = "172.17.0.1/16"


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def bridges():
    """Bridges with their addresses, while the tests' engine runs where another engine has set up docker0."""
    if why_not():
        pytest.skip(why_not())
    with tempfile.TemporaryDirectory(prefix="exeunt-engine-", ignore_cleanup_errors=True) as folder, own_network():
        ip("link", "add", "docker0", "type", "bridge")
        ip("address", "add", HOSTS_BRIDGE, "dev", "docker0")
        with running(Path(folder)):
            lines = ip("-4", "-o", "address", "show").splitlines()
            yield {line.split()[1]: line.split()[3] for line in lines}


def test_another_engines_bridge_keeps_its_address(bridges):
    assert bridges.pop("docker0") == HOSTS_BRIDGE
    assert "198.51.100.1/25" in bridges.values()
