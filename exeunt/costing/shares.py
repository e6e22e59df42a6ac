"""The share of answers that leave at each exit: expected by the export, or counted by a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exeunt.errors import ConfigError
from exeunt.hosting.status import Status
from exeunt.reading import read_json_table, reading

REPORT_FILE = "report.json"  # beside the manifest; the export writes it


def read_report(folder: Path) -> dict[str, Any]:
    """The export's report beside a manifest.

    Args:
        folder: `NAME_exit/1`.

    Raises:
        ConfigError: no report, or a damaged one.
    """
    path = folder / REPORT_FILE
    with reading(path, "report of an export"):
        return read_json_table(path, "report")


def expected_shares(folder: Path, max_loss: float) -> tuple[float, ...]:
    """What the export's report expects at the largest loss that it looked at within `max_loss`.

    Args:
        folder: `NAME_exit/1`.
        max_loss: of the promise.

    Raises:
        ConfigError: no report, or none of its losses is so small.
    """
    table = read_report(folder)
    with reading(folder / REPORT_FILE, "report of an export"):
        points = [point for point in table["expected"] if point["max_loss"] <= max_loss + 1e-12]
        if not points:
            raise ConfigError(f"{folder / REPORT_FILE}: expects nothing for max_loss {max_loss:g}")
        return tuple(max(points, key=lambda point: point["max_loss"])["leaves"])


def counted_shares(status: Status) -> tuple[float, ...]:
    """What a running server has counted.

    Raises:
        ConfigError: it has not answered anything yet.
    """
    rows = [sum(reasons.values()) for reasons in status.answers]
    if not sum(rows):
        raise ConfigError(f"bag {status.bag}: its server has not answered anything yet")
    return tuple(count / sum(rows) for count in rows)
