import resource
import subprocess
import sys
import time

import pytest

from exeunt.serving.processes import MOST_OPEN_FILES, kill_group, members
from exeunt.serving.supervisor import Supervisor


@pytest.fixture
def most_files():
    """Files that this process may open at most, while its limit is the common 1024."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, most))
    yield most
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))


def test_a_server_may_have_more_connections_than_the_common_limit(most_files, tmp_path):
    line = ["bash", "-c", "ulimit -Sn"]
    Supervisor(line, {}, "none", 1, [], tmp_path / "log").ending()
    expected = MOST_OPEN_FILES if most_files == resource.RLIM_INFINITY else min(most_files, MOST_OPEN_FILES)
    assert int((tmp_path / "log").read_text()) == expected


def test_a_killed_group_leaves_no_grandchild():
    nested = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    process = subprocess.Popen([sys.executable, "-c", nested], start_new_session=True)
    while len(members(process.pid)) < 2:
        time.sleep(0.01)
    assert kill_group(process.pid) == []
    process.wait()
    assert members(process.pid) == []


def test_a_group_that_is_gone_is_nothing_to_kill():
    process = subprocess.Popen(["true"], start_new_session=True)
    process.wait()
    assert kill_group(process.pid) == []
