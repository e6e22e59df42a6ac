"""How long a process has kept a core busy."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def cpu_time_s(pid: int) -> float:
    """User and system time, its own and of children that have ended, in seconds; 0 where it is gone."""
    with contextlib.suppress(OSError):
        # pid (name) state ...: the name may hold spaces and brackets; in ticks
        ticks = Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()[11:15]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    return 0.0
