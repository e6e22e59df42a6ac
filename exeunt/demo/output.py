"""The demo's output folder, made by the demo or not touched, and the report in it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import exeunt
from exeunt.errors import ConfigError

MARK = ".made-by-exeunt-demo"


def claim(folder: Path) -> None:
    """Make the folder, or take over one that an earlier demo made.

    Raises:
        ConfigError: it holds a bag or a repository that no demo made; they would be replaced.
    """
    for name in ("model_repository", "bag"):
        if (folder / name).exists() and not (folder / MARK).exists():
            raise ConfigError(
                f"--output {folder}: {folder / name} was not made by a demo and would be replaced; name another folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def measured_here() -> dict[str, Any]:
    """What a report says of the machine and the program."""
    machine = {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}
    return {"machine": machine, "exeunt": exeunt.__version__}


def save_report(numbers: Mapping[str, Any], folder: Path) -> None:
    """Write the numbers as report.json."""
    (folder / "report.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
