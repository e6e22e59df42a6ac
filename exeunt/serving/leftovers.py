"""What a server that was killed leaves on the host: shared memory, and empty folders in /tmp.

Triton's Python backend makes a folder `/tmp/python_env_XXXXXX` when it is loaded and removes it when it is unloaded. A
server that is killed, as ours always are once they have drained, never gets there. The folder bears no name, so it is
removed where nobody can own it any more: it is empty, and every living server is younger than it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from exeunt.hosting.start_times import process_age_s

ENVIRONMENTS = "python_env_*"
BACKEND = "libtriton_python.so"  # who has this in memory may own such a folder
CLOCK_S = 2.0  # by how much the kernel's times of processes and of files may differ


def remove_leftovers(name: str) -> None:
    """Remove the shared memory of a server with this name, and folders of servers that are gone."""
    for region in Path("/dev/shm").glob(f"*{name}*"):
        region.unlink(missing_ok=True)
    for folder in abandoned(Path("/tmp"), servers_since_s()):
        with contextlib.suppress(OSError):  # filled or removed meanwhile
            folder.rmdir()


def abandoned(folder: Path, servers_since_s: Sequence[float]) -> list[Path]:
    """Empty folders of this user's dead servers.

    Args:
        folder: where they are looked for.
        servers_since_s: when each living server began, in Unix seconds.
    """
    oldest_s = min(servers_since_s, default=float("inf"))
    folders = []
    for environment in folder.glob(ENVIRONMENTS):
        with contextlib.suppress(OSError):
            about = environment.stat()
            if about.st_uid == os.geteuid() and about.st_mtime + CLOCK_S < oldest_s and not any(environment.iterdir()):
                folders.append(environment)
    return folders


def servers_since_s() -> list[float]:
    """When each living process with Triton's Python backend began, in Unix seconds; those of others are not seen."""
    starts_s = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            if BACKEND in (process / "maps").read_text(encoding="utf-8", errors="replace"):
                starts_s.append(time.time() - process_age_s(process.name))
    return starts_s
