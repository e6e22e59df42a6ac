"""Control and status of a running server, as two small files in `state_dir`.

    `exeunt control NAME`  --writes-->  <content_hash>.control.json  --read by-->  the exit controller
    the exit controller    --writes-->  <content_hash>.status.json   --read by-->  `exeunt control`, `watch`, dashboards

Both are replaced whole, never changed in place, so a reader sees the old one or the new one. The inference port has no
part in it: who may change the promise is decided by the permissions of a folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from exeunt.errors import ConfigError, unknown
from exeunt.hosting.state_files import read_fields, write_fields
from exeunt.reading import reading
from exeunt.settings import check_feedback

CONTROL_SUFFIX = ".control.json"
RAMPS = ("previous", "exported", "apply")  # heads: those before, those of the export, those of a file


@dataclass(frozen=True, slots=True)
class Control:
    """What an operator changed while the server runs; the defaults change nothing.

    Attributes:
        max_loss: promised loss in place of the settings', 0..1; None keeps it.
        service_classes: class of service -> promised loss, for some or all of the configured classes; None keeps all.
        exits_off: exits that nobody may leave at, or "all": then nobody leaves early (the kill switch).
        version: grows by one with every change, so that the status can say which one it has seen; 0 before the first.
        feedback: which answered inputs are finished, in place of the settings' `feedback`; None keeps it.
        ramps_frozen: ramps that learn in service do not, for now.
        ramps: what is to be done with their heads, once: one of RAMPS, or "" before the first such command.
        ramps_number: of that command; grows by one with each.
    """

    max_loss: float | None = None
    service_classes: dict[str, float] | None = None
    exits_off: tuple[int, ...] | Literal["all"] = ()
    version: int = 0
    feedback: float | str | None = None
    ramps_frozen: bool = False
    ramps: str = ""
    ramps_number: int = 0

    def is_off(self, exit_: int) -> bool:
        """True if nobody may leave early at this exit."""
        return self.exits_off == "all" or exit_ in self.exits_off

    def check(
        self,
        where: str,
        exits: int | None = None,
        classes: Mapping[str, float] | None = None,
        least_feedback: float = 0.0,
    ) -> None:
        """Raise ConfigError, naming `where`, key, value and what is allowed, unless the control can be obeyed.

        Args:
            where: file or option the control came from.
            exits: number of exits of the bag, the full ensemble included; None leaves the numbers unchecked.
            classes: the configured classes of service; None leaves the names unchecked.
            least_feedback: lowest share of feedback that the settings allow (least_finish_probability).
        """
        if isinstance(self.version, bool) or not isinstance(self.version, int):
            raise ConfigError(f"{where}: version = {self.version!r}; allowed: a whole number")
        self._check_ramps(where)
        losses = {"max_loss": self.max_loss} if self.max_loss is not None else {}
        losses |= {f"service_classes.{name}": loss for name, loss in (self.service_classes or {}).items()}
        for key, value in losses.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ConfigError(f"{where}: {key} = {value!r}; allowed: a number from 0 to 1")
        if self.feedback is not None:
            check_feedback(self.feedback, least_feedback, where)
        for name in self.service_classes or {}:
            if classes is not None and name not in classes:
                raise unknown("service class", name, classes, f"{where}: service_classes")
        if self.exits_off != "all":
            self._check_exits(self.exits_off, where, exits)

    def _check_ramps(self, where: str) -> None:
        if not isinstance(self.ramps_frozen, bool):
            raise ConfigError(f"{where}: ramps_frozen = {self.ramps_frozen!r}; allowed: true or false")
        if self.ramps not in ("", *RAMPS):
            raise unknown("ramps", str(self.ramps), RAMPS, where)
        if isinstance(self.ramps_number, bool) or not isinstance(self.ramps_number, int):
            raise ConfigError(f"{where}: ramps_number = {self.ramps_number!r}; allowed: a whole number")

    @staticmethod
    def _check_exits(exits_off: tuple[int, ...], where: str, exits: int | None) -> None:
        for exit_ in exits_off:
            if isinstance(exit_, bool) or not isinstance(exit_, int) or exit_ < 0:
                raise ConfigError(f'{where}: exits_off holds {exit_!r}; allowed: exit numbers from 0, or "all"')
            if exits is not None and exit_ >= exits - 1:
                last = f"exit {exits - 1} is the full ensemble and stays on"
                raise ConfigError(f"{where}: exits_off holds {exit_}; allowed: 0 to {exits - 2} ({last})")


class ControlWatch:
    """Notices changes of one control file; one `os.stat` per look.

    A file that cannot be obeyed is reported once, by the ConfigError of `poll`; the last good control stays in force.
    """

    def __init__(self, path: Path, exits: int, classes: Mapping[str, float], least_feedback: float = 0.0) -> None:
        self._path = path
        self._exits = exits
        self._classes = classes
        self._least_feedback = least_feedback
        self._file_stamp: tuple[int, int, int] | None = None

    def poll(self) -> Control | None:
        """The new control if the file changed since the last look (an emptied one if it was removed), else None.

        Raises:
            ConfigError: the file changed and cannot be obeyed.
        """
        try:
            now = os.stat(self._path)
        except FileNotFoundError:
            was_there, self._file_stamp = self._file_stamp is not None, None
            return Control() if was_there else None
        stamp = (now.st_mtime_ns, now.st_ino, now.st_size)
        if stamp == self._file_stamp:
            return None
        self._file_stamp = stamp
        control = read_control(self._path)
        control.check(str(self._path), self._exits, self._classes, self._least_feedback)
        return control


def control_path(state_dir: Path, content_hash: str) -> Path:
    """The control file of a bag."""
    return state_dir / f"{content_hash}{CONTROL_SUFFIX}"


def read_control(path: Path) -> Control:
    """Read a control file; one that does not exist changes nothing.

    Raises:
        ConfigError: damaged, of another version, or with an unknown key or a value that is not allowed.
    """
    if not path.exists():
        return Control()
    with reading(path, "control file"):
        fields = read_fields(path, Control)
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
    write_fields(path, control)
