"""A process group that leaves nothing behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

KILL_S = 5.0  # for the kernel to end processes
MOST_OPEN_FILES = 65536  # a few for every connection; some programs close every file they might have


def raise_open_files() -> None:
    """Let this process, and what it starts, open as many files as it may; every connection to Triton is one.

    Engines from 25 on, and most hosts, start processes with a limit of 1024 that they may raise themselves.
    """
    present, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MOST_OPEN_FILES if most == resource.RLIM_INFINITY else min(most, MOST_OPEN_FILES)
    if present != resource.RLIM_INFINITY and present < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))


def members(group: int) -> list[int]:
    """Process ids of a process group, zombies left out (only their parent can remove those)."""
    pids = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # pid (name) state ppid pgrp ...; the name may hold spaces and brackets
            state, _, pgrp = stat.read_text().rsplit(")", 1)[1].split()[:3]
        except (OSError, IndexError, ValueError):
            continue  # ended while we looked
        if int(pgrp) == group and state != "Z":
            pids.append(int(stat.parent.name))
    return pids


def kill_group(group: int) -> list[int]:
    """Kill a process group (its id) and wait until it is gone; the processes that are still there after 5 s."""
    end = time.monotonic() + KILL_S
    while (remaining := members(group)) and time.monotonic() < end:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            return []
        time.sleep(0.02)
    return remaining


class Reaper:
    """A small process that ends what a supervisor leaves behind if the supervisor is killed.

    It waits for the end of a pipe, which comes with the supervisor's end, however that comes. Then it gives the process
    group a few seconds, kills it, and removes its shared memory and folder. Backend processes notice the end of their
    server late or, while a thread of theirs waits for it, never.

    Args:
        group: process group of the server.
        name: prefix of its shared memory.
        folder: what it needed on disk.
    """

    def __init__(self, group: int, name: str, folder: Path) -> None:
        line = [sys.executable, "-m", "exeunt.serving.reaper", str(group), name, str(folder)]
        self._process = subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def dismiss(self) -> None:
        """End it without work: the supervisor has cleaned up."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def tied_to_us() -> list[str]:
    """Prefix of a command line by which a process gets SIGTERM when the thread that starts it ends, however it ends.

    Empty where util-linux's setpriv cannot do that; then a killed (SIGKILL) caller leaves the process running.
    """
    import shutil

    tool = shutil.which("setpriv")
    if tool is None:
        return []
    stdout = subprocess.run([tool, "--help"], capture_output=True, text=True, check=False).stdout
    return [tool, "--pdeathsig", "TERM", "--"] if "--pdeathsig" in stdout else []
