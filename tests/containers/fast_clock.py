"""Prometheus' files with every time a sixth, so that an alert that takes three minutes takes half of one."""

from __future__ import annotations

import re
from pathlib import Path

FACTOR = 6
_SECONDS = {"s": 1, "m": 60, "h": 3600}
# windows of queries, and how long and how often; names such as rate5m stay
_TIMES = re.compile(r"(\[|for: |interval: )(\d+)([smh])\b")


def quicken(source: Path, target: Path) -> None:
    """Copy a folder's YAML files with their times divided by FACTOR, to whole seconds."""
    target.mkdir()
    for file in source.glob("*.yml"):
        (target / file.name).write_text(_TIMES.sub(_shorter, file.read_text()))


def _shorter(match: re.Match[str]) -> str:
    seconds = max(1, int(match[2]) * _SECONDS[match[3]] // FACTOR)
    return f"{match[1]}{seconds}s"
