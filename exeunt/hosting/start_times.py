"""How long a backend process took to start, and for what: one line in the server's log."""

from __future__ import annotations

import os
import time
from pathlib import Path


def process_age_s(process: str = "self") -> float:
    """Seconds since a process (its id) was started, to a hundredth; 0 where the system does not say."""
    try:
        # pid (name) state ...: the name may hold spaces and brackets; the 22nd field is the start, in ticks since boot
        ticks = int(Path(f"/proc/{process}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()[19])
    except (OSError, IndexError, ValueError):
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))


class StartTimes:
    """Notes when each part of a start was done, from the process's own start on."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, float]] = []
        self._begun_s = time.monotonic() - process_age_s()

    def done(self, part: str) -> None:
        """A part is done; it began with the end of the one before."""
        self._parts.append((part, time.monotonic() - self._begun_s))

    def line(self) -> str:
        """The parts with their seconds, for people and for `benchmarks.cold_start`."""
        ends_s = [0.0, *(end_s for _, end_s in self._parts)]
        parts = (f"{part} {ends_s[number + 1] - ends_s[number]:.2f} s" for number, (part, _) in enumerate(self._parts))
        return f"started in {ends_s[-1]:.2f} s: {', '.join(parts)}"
