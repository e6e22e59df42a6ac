"""Control and status of a running server, as two small files in `state_dir`.

    `exeunt control NAME`  --writes-->  <content_hash>.control.json  --read by-->  the exit controller
    the exit controller    --writes-->  <content_hash>.status.json   --read by-->  `exeunt control`, `watch`, dashboards

Both are replaced whole, never changed in place, so a reader sees the old one or the new one. The inference port has no
part in it: who may change the promise is decided by the permissions of a folder.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from exeunt.errors import ConfigError, unknown
from exeunt.reading import read_json_table, reading

SCHEMA_VERSION = 1
STATE_DIR_VARIABLE = "EXEUNT_STATE_DIR"
CONTROL_SUFFIX = ".control.json"
STATUS_SUFFIX = ".status.json"


@dataclass(frozen=True, slots=True)
class Control:
    """What an operator changed while the server runs; the defaults change nothing.

    Attributes:
        max_loss: promised loss in place of the settings', 0..1; None keeps it.
        service_classes: class of service -> promised loss, for some or all of the configured classes; None keeps all.
        exits_off: exits that nobody may leave at, or "all": then nobody leaves early (the kill switch).
        version: grows by one with every change, so that the status can say which one it has seen; 0 before the first.
    """

    max_loss: float | None = None
    service_classes: dict[str, float] | None = None
    exits_off: tuple[int, ...] | Literal["all"] = ()
    version: int = 0

    def is_off(self, exit_: int) -> bool:
        """True if nobody may leave early at this exit."""
        return self.exits_off == "all" or exit_ in self.exits_off

    def check(self, where: str, exits: int | None = None, classes: Mapping[str, float] | None = None) -> None:
        """Raise ConfigError, naming `where`, key, value and what is allowed, unless the control can be obeyed.

        Args:
            where: file or option the control came from.
            exits: number of exits of the bag, the full ensemble included; None leaves the numbers unchecked.
            classes: the configured classes of service; None leaves the names unchecked.
        """
        if isinstance(self.version, bool) or not isinstance(self.version, int):
            raise ConfigError(f"{where}: version = {self.version!r}; allowed: a whole number")
        losses = {"max_loss": self.max_loss} if self.max_loss is not None else {}
        losses |= {f"service_classes.{name}": loss for name, loss in (self.service_classes or {}).items()}
        for key, value in losses.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ConfigError(f"{where}: {key} = {value!r}; allowed: a number from 0 to 1")
        for name in self.service_classes or {}:
            if classes is not None and name not in classes:
                raise unknown("service class", name, classes, f"{where}: service_classes")
        if self.exits_off == "all":
            return
        for exit_ in self.exits_off:
            if isinstance(exit_, bool) or not isinstance(exit_, int) or exit_ < 0:
                raise ConfigError(f'{where}: exits_off holds {exit_!r}; allowed: exit numbers from 0, or "all"')
            if exits is not None and exit_ >= exits - 1:
                last = f"exit {exits - 1} is the full ensemble and stays on"
                raise ConfigError(f"{where}: exits_off holds {exit_}; allowed: 0 to {exits - 2} ({last})")


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
        tickets_in_flight: batches now in flight.
        waiting_rows: rows waiting for a ticket.
        control_version: version of the control obeyed; 0 = none.
        control_error: why the newest control file is not obeyed, or "".
        stopped: the server has drained for good.
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


class ControlWatch:
    """Notices changes of one control file; one `os.stat` per look.

    A file that cannot be obeyed is reported once, by the ConfigError of `poll`; the last good control stays in force.
    """

    def __init__(self, path: Path, exits: int, classes: Mapping[str, float]) -> None:
        self._path = path
        self._exits = exits
        self._classes = classes
        self._seen: tuple[int, int, int] | None = None

    def poll(self) -> Control | None:
        """The new control if the file changed since the last look (an emptied one if it was removed), else None.

        Raises:
            ConfigError: the file changed and cannot be obeyed.
        """
        try:
            now = os.stat(self._path)
        except FileNotFoundError:
            gone, self._seen = self._seen is not None, None
            return Control() if gone else None
        stamp = (now.st_mtime_ns, now.st_ino, now.st_size)
        if stamp == self._seen:
            return None
        self._seen = stamp
        control = read_control(self._path)
        control.check(str(self._path), self._exits, self._classes)
        return control


def default_state_dir() -> Path:
    """Folder of status, control and learnt state where none is named: $EXEUNT_STATE_DIR or ~/.local/state/exeunt."""
    found = os.environ.get(STATE_DIR_VARIABLE)
    return Path(found) if found else Path.home() / ".local" / "state" / "exeunt"


def control_path(state_dir: Path, content_hash: str) -> Path:
    """The control file of a bag."""
    return state_dir / f"{content_hash}{CONTROL_SUFFIX}"


def status_path(state_dir: Path, content_hash: str) -> Path:
    """The status file of a bag."""
    return state_dir / f"{content_hash}{STATUS_SUFFIX}"


def read_control(path: Path) -> Control:
    """Read a control file; one that does not exist changes nothing.

    Raises:
        ConfigError: damaged, of another version, or with an unknown key or a value that is not allowed.
    """
    if not path.exists():
        return Control()
    with reading(path, "control file"):
        fields = _table(path, Control)
        off = fields.get("exits_off", ())
        if off != "all" and not isinstance(off, list | tuple):
            raise ConfigError(f'{path}: exits_off = {off!r}; allowed: a list of exit numbers, or "all"')
        classes = fields.get("service_classes")
        if classes is not None and not isinstance(classes, dict):
            raise ConfigError(f"{path}: service_classes = {classes!r}; allowed: a table of class -> loss, or null")
        control = Control(**(fields | {"exits_off": off if off == "all" else tuple(off)}))
        control.check(str(path))
        return control


def write_control(path: Path, control: Control) -> None:
    """Replace a control file whole; makes the folder where it is missing."""
    _write(path, control)


def read_status(path: Path) -> Status:
    """Read a status file.

    Raises:
        ConfigError: no such file, damaged, or written by another version of exeunt.
    """
    with reading(path, "status file; the server writes a new one each second"):
        fields = _table(path, Status)
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
    _write(path, dataclasses.replace(status, thresholds=thresholds, metrics=metrics))


def find_status(state_dir: Path, bag: str) -> Status:
    """The newest status of a bag in a folder.

    Raises:
        ConfigError: no status of that bag; names those that are there.
    """
    found, damaged = [], []
    for path in sorted(state_dir.glob(f"*{STATUS_SUFFIX}")):
        try:
            found.append(read_status(path))
        except ConfigError as error:  # of another bag, perhaps: it must not hide the others
            damaged.append(str(error))
    of_bag = [status for status in found if status.bag == bag]
    if of_bag:
        return max(of_bag, key=lambda status: status.written_unix_s)
    if found:
        raise unknown("bag", bag, {status.bag for status in found}, str(state_dir))
    if damaged:
        raise ConfigError(damaged[0])
    raise ConfigError(
        f"{state_dir}: no status of a running server; name its state_dir with --state-dir, or set exit.state_dir"
    )


def _table(path: Path, kind: type) -> dict[str, Any]:
    """The JSON table of `path`, checked for schema version and keys, which are the fields of `kind`."""
    found = read_json_table(path, "JSON file")
    version = found.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise ConfigError(f"{path}: schema_version {version!r}; allowed: {SCHEMA_VERSION}")
    names = [field_.name for field_ in dataclasses.fields(kind)]
    for key in found:
        if key not in names:
            raise unknown("key", key, names, str(path))
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_table(value: object, none: bool = False) -> bool:
    """A table of text -> number, or null where `none`."""
    return isinstance(value, dict) and all(
        isinstance(key, str) and (_is_number(number) or (none and number is None)) for key, number in value.items()
    )


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _write(path: Path, content: Control | Status) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(content)}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # not mkstemp: the file keeps the folder's usual rights
    try:
        temporary.write_text(json.dumps(table, indent=1, allow_nan=False, default=_number) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _number(value: Any) -> Any:
    """A numpy scalar as the number it holds."""
    return value.item()
