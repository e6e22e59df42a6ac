"""Prices: one TOML file, each price with its source and date."""

from __future__ import annotations

import datetime
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from exeunt.errors import ConfigError, check_known
from exeunt.reading import reading

SHIPPED = Path(__file__).parent / "prices.toml"


@dataclass(frozen=True, slots=True)
class Machine:
    """A rented machine."""

    name: str
    usd_per_hour: float
    cores: int
    source: str
    date: datetime.date


@dataclass(frozen=True, slots=True)
class Function:
    """A function as a service with one core.

    Attributes:
        usd_per_gb_s: for its memory while it runs.
        usd_per_request: for each call.
        step_ms: running times are rounded up to a multiple of it.
        memory_gb: that comes with one core.
    """

    name: str
    usd_per_gb_s: float
    usd_per_request: float
    step_ms: float
    memory_gb: float
    source: str
    date: datetime.date

    def usd(self, run_ms: float) -> float:
        """Price of one call that runs so long."""
        steps = -(-run_ms // self.step_ms)
        return self.usd_per_request + self.usd_per_gb_s * self.memory_gb * steps * self.step_ms / 1000.0


@dataclass(frozen=True, slots=True)
class StepMachine:
    """What calls one function per member and joins their answers.

    Attributes:
        usd_per_transition: from one state to the next.
        transition_ms: how long that takes.
    """

    name: str
    usd_per_transition: float
    transition_ms: float
    source: str
    date: datetime.date


@dataclass(frozen=True, slots=True)
class Prices:
    """All prices that a comparison needs; the sections of the file."""

    machine: Machine
    function: Function
    step_machine: StepMachine

    @classmethod
    def load(cls, path: Path = SHIPPED) -> Prices:
        """Read a file.

        Raises:
            ConfigError: no such file, or a section, key or value that is not allowed.
        """
        if not path.is_file():
            raise ConfigError(f"--prices {path}: no such file")
        with reading(path, "file of prices"):
            table = tomllib.loads(path.read_text(encoding="utf-8"))
            kinds = {"machine": Machine, "function": Function, "step_machine": StepMachine}
            for key in table:
                check_known("section", key, kinds, str(path))
            return cls(**{key: _section(kind, table.get(key), f"{path}: [{key}]") for key, kind in kinds.items()})


def _section(kind: Any, table: Any, where: str) -> Any:
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: missing; allowed: a table with {', '.join(f.name for f in fields(kind))}")
    names = {field.name: str(field.type) for field in fields(kind)}
    for key in table:
        check_known("key", key, names, where)
    for name, type_ in names.items():
        value = table.get(name)
        types = {"str": str, "datetime.date": datetime.date}.get(type_, (int, float))
        number = type_ in ("float", "int")
        fits = isinstance(value, types) and not isinstance(value, bool)
        if not fits or (number and not 0 < float(str(value)) < 1e9):
            allowed = "a number above 0" if number else "a date" if "date" in type_ else "a text"
            raise ConfigError(f"{where}: {name} = {value!r}; allowed: {allowed}")
    return kind(**table)
