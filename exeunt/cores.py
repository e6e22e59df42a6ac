"""Cores that this process may run on, how many it may keep busy, and where its workers wait for work."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_NO_LIMIT = math.inf


def usable_cores(proc: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may keep busy at a time, at least 1.

    A container with a limit (`docker run --cpus`, Kubernetes `limits.cpu`) sees every core of its host, and is stopped
    for the rest of each tenth of a second once its share is spent: a thread per core would have it stopped all the
    time. A part of a core counts as none, for a worker that is stopped half of the time holds up those who wait for it.

    Args:
        proc: names this process's control groups, as Linux does.
        mounted: where they are.
    """
    return max(1, math.floor(min([len(allowed_cores()), *_limits(proc, mounted)])))


def allowed_cores() -> set[int]:
    """Numbers of the cores that this thread may run on, at least one."""
    return os.sched_getaffinity(0)


def home_cores(number: int, workers: int) -> set[int]:
    """Cores that a worker waits on: no other worker's, where there are enough; else they are shared evenly.

    A kernel that wakes two threads at once often puts both on one core, and moves one of them away only after some
    milliseconds: two short runs side by side then take as long as one after the other.

    Args:
        number: of the worker, from 0.
        workers: in all.
    """
    cores = sorted(allowed_cores())
    return set(cores[number % len(cores) :: workers])


def _limits(proc: Path, mounted: Path) -> Iterator[float]:
    """Limits in cores, of this process's groups and of all above them."""
    try:
        lines = proc.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2: one tree for everything
            yield from (_cores(_words(group / "cpu.max")) for group in _up(mounted, path))
        elif "cpu" in controllers.split(","):
            for name in (controllers, "cpu"):  # the folder, and what it is linked from
                for group in _up(mounted / name, path):
                    yield _cores(_words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us"))


def _up(root: Path, path: str) -> Iterator[Path]:
    """A group's folder and all above it; in a container the innermost may be mounted as the root."""
    group = root / path.lstrip("/")
    while group != root and root in group.parents:
        yield group
        group = group.parent
    yield root


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return []


def _cores(words: list[str]) -> float:
    """Cores' worth of time of a quota and its period; -1 and "max" mean no limit, and so does what is no such pair."""
    try:
        quota_us, period_us = map(int, words)
    except ValueError:
        return _NO_LIMIT
    return quota_us / period_us if quota_us > 0 and period_us > 0 else _NO_LIMIT
