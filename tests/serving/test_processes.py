import subprocess
import sys
import time

from exeunt.serving.processes import kill_group, members


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
