"""The status file: what a running server says about itself, about once a second."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from exeunt.errors import ConfigError, unknown
from exeunt.hosting.state_files import read_fields, write_fields
from exeunt.reading import reading

STATUS_SUFFIX = ".status.json"


@dataclass(frozen=True, slots=True)
class Status:
    """What a running server says about itself; times are seconds since the epoch.

    Attributes:
        bag: name of the bag.
        content_hash: the manifest's.
        pid: process that holds the exit controller.
        started_unix_s: when it started.
        written_unix_s: when this status was written.
        tuner: name of the tuner.
        max_loss: promised loss in force.
        service_classes: promised loss in force by class of service.
        exits_off: exits switched off by the control file, or "all".
        active: bool by exit, those now offered.
        thresholds: by exit, on 1 - confidence; None where there is none.
        answers: rows answered since the start, per exit: reason's name in small letters -> rows.
        metrics: numbers of controller and tuner by name (lambda, loss observed, rows unconfirmed, ...); None where not
            finite.
        tickets_in_flight: tickets (batches) now in flight.
        waiting_rows: rows waiting for a ticket.
        control_version: version of the control obeyed; 0 = none.
        control_error: why the newest control file is not obeyed, or "".
        stopped: the server has drained for good.
        feedback: which answered inputs are finished, as the setting `feedback` says it.
    """

    bag: str
    content_hash: str
    pid: int
    started_unix_s: float
    written_unix_s: float
    tuner: str
    max_loss: float
    service_classes: dict[str, float] = field(default_factory=dict)
    exits_off: tuple[int, ...] | Literal["all"] = ()
    active: tuple[bool, ...] = ()
    thresholds: tuple[float | None, ...] = ()
    answers: tuple[dict[str, int], ...] = ()
    metrics: dict[str, float | None] = field(default_factory=dict)
    tickets_in_flight: int = 0
    waiting_rows: int = 0
    control_version: int = 0
    control_error: str = ""
    stopped: bool = False
    feedback: float | str = "all"

    @property
    def exits(self) -> int:
        """Number of exits, the full ensemble included."""
        return len(self.active)

    def check(self, where: str) -> None:
        """Raise ConfigError, naming `where` and key, unless every field is of its kind."""
        texts = ("bag", "content_hash", "tuner", "control_error")
        numbers = ("pid", "started_unix_s", "written_unix_s", "max_loss", "tickets_in_flight", "waiting_rows")
        fine = {key: isinstance(getattr(self, key), str) for key in texts}
        fine |= {key: _is_number(getattr(self, key)) for key in (*numbers, "control_version")}
        fine["feedback"] = isinstance(self.feedback, str) or _is_number(self.feedback)
        fine["stopped"] = isinstance(self.stopped, bool)
        fine["active"] = all(isinstance(active, bool) for active in self.active)
        fine["exits_off"] = self.exits_off == "all" or all(map(_is_number, self.exits_off))
        fine["thresholds"] = all(threshold is None or _is_number(threshold) for threshold in self.thresholds)
        fine["service_classes"] = _is_table(self.service_classes)
        fine["metrics"] = _is_table(self.metrics, none=True)
        fine["answers"] = all(map(_is_table, self.answers))
        for key, good in fine.items():
            if not good:
                raise ConfigError(f"{where}: {key} = {str(getattr(self, key))[:80]!r}; no server writes that")


def status_path(state_dir: Path, content_hash: str) -> Path:
    """The status file of a bag."""
    return state_dir / f"{content_hash}{STATUS_SUFFIX}"


def read_status(path: Path) -> Status:
    """Read a status file.

    Raises:
        ConfigError: no such file, damaged, or written by another version of exeunt.
    """
    with reading(path, "status file; the server writes a new one each second"):
        fields = read_fields(path, Status)
        off = fields.get("exits_off", ())
        fields |= {"exits_off": off if off == "all" else tuple(off)}
        fields |= {key: tuple(fields.get(key, ())) for key in ("active", "thresholds", "answers")}
        status = Status(**fields)
        status.check(str(path))
        return status


def write_status(path: Path, status: Status) -> None:
    """Replace a status file whole; a threshold or metric that is not finite becomes null."""
    thresholds = tuple(map(_finite, status.thresholds))
    metrics = {name: _finite(value) for name, value in status.metrics.items()}
    write_fields(path, dataclasses.replace(status, thresholds=thresholds, metrics=metrics))


def find_status(state_dir: Path, bag: str) -> Status:
    """The newest status of a bag in a folder.

    Raises:
        ConfigError: no status of that bag; names those that are there.
    """
    statuses, damaged = [], []
    for path in sorted(state_dir.glob(f"*{STATUS_SUFFIX}")):
        try:
            statuses.append(read_status(path))
        except ConfigError as error:  # of another bag, perhaps: it must not hide the others
            damaged.append(str(error))
    of_bag = [status for status in statuses if status.bag == bag]
    if of_bag:
        return max(of_bag, key=lambda status: status.written_unix_s)
    if statuses:
        raise unknown("bag", bag, {status.bag for status in statuses}, str(state_dir))
    if damaged:
        raise ConfigError(damaged[0])
    raise ConfigError(
        f"{state_dir}: no status of a running server; name its state_dir with --state-dir, or set exit.state_dir"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_table(value: object, none: bool = False) -> bool:
    """A table of text -> number, or null where `none`."""
    return isinstance(value, dict) and all(
        isinstance(key, str) and (_is_number(number) or (none and number is None)) for key, number in value.items()
    )


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
