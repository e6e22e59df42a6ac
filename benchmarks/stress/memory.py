"""What the processes of a server hold in memory, over time."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from exeunt.serving.processes import members

SHARED = "shared memory"
EVERY_S = 2.0


def memory_mb(group: int, name: str) -> dict[str, float]:
    """Memory in megabytes (10^6 bytes): of each process what is its own (anonymous), and all regions that they share.

    Args:
        group: process group of the server.
        name: of the server, as its regions of shared memory are called.
    """
    megabytes: dict[str, float] = {}
    for pid in members(group):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            megabytes[_called(words)] = _own_mb(pid)
        except OSError:  # it has ended meanwhile
            continue
    regions = Path("/dev/shm").glob(f"*{name}*")
    return megabytes | {SHARED: sum(region.stat().st_blocks * 512e-6 for region in regions)}


def _own_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    anonymous_kb = next((line.split()[1] for line in text.splitlines() if line.startswith("RssAnon:")), "0")
    return 1.024e-3 * float(anonymous_kb)


def _called(words: list[str]) -> str:
    """The model that a backend's process runs, else its command."""
    folders = Path(words[1]).parts if len(words) > 1 else ()
    is_stub = Path(words[0]).name == "triton_python_backend_stub" and len(folders) >= 3
    return folders[-3] if is_stub else Path(words[0]).name


@dataclass
class MemoryWatch:
    """Looks at a server's memory every EVERY_S seconds until the block ends.

    Args:
        group: process group of the server.
        name: of the server.
        pids: of further processes, by what they are called.

    Attributes:
        seconds: since the start, of each look.
        megabytes: by process, of each look.
    """

    group: int
    name: str
    pids: Mapping[str, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    megabytes: dict[str, list[float]] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> MemoryWatch:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        begun_s = time.monotonic()
        while not self._stop.is_set():
            self.seconds.append(time.monotonic() - begun_s)
            sizes_mb = memory_mb(self.group, self.name)
            sizes_mb |= {called: _own_mb(pid) for called, pid in self.pids.items()}
            for process_name, size_mb in sizes_mb.items():
                self.megabytes.setdefault(process_name, []).append(size_mb)
            self._stop.wait(EVERY_S)

    def peak_mb(self) -> dict[str, float]:
        """The most that each held."""
        return {process_name: max(sizes) for process_name, sizes in self.megabytes.items()}

    def growth(self, shares: Sequence[float]) -> dict[str, list[float]]:
        """Megabytes at some times, by process: medians of a seventh of the looks each.

        Args:
            shares: of the looks, 0..1, at which each median begins; the last looks where too few follow.
        """
        medians_mb = {}
        for process_name, sizes in self.megabytes.items():
            part = max(1, len(sizes) // 7)
            begins = [min(int(share * len(sizes)), len(sizes) - part) for share in shares]
            medians_mb[process_name] = [float(np.median(sizes[begin : begin + part])) for begin in begins]
        return medians_mb

    def by_minute(self) -> dict[str, list[float]]:
        """Median megabytes of every minute, by process."""
        looks = round(60.0 / EVERY_S)
        return {
            process_name: [
                round(float(np.median(sizes[begin : begin + looks])), 2) for begin in range(0, len(sizes), looks)
            ]
            for process_name, sizes in self.megabytes.items()
        }
