"""BAG.toml: what an operator writes to have a bag exported (design: export).

    name = "digits"
    labels = "labels.txt"          # one label per line; or a list; or left out: "0", "1", ...
    samples = "samples.npy"        # unlabelled real inputs; .npz with one array per input where there are several

    [[member]]
    name = "plain"
    file = "plain.onnx"
    weight = 1.0

Further tables: [cuts], [serving], [exit]; their keys are the fields of Cuts, Serving and exeunt.settings.Settings.
Paths are relative to the bag file.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exeunt.errors import ConfigError, unknown
from exeunt.manifest import MODES, VOTES
from exeunt.settings import Settings

SCHEDULES = ("parallel", "cascade", "auto")
KINDS = ("auto", "cpu", "gpu")
GRIDS = (8, 4, 2, 1)
_TAKEN = re.compile(r"exit|bag|full|vote|heads_e\d+|.*_s\d+")  # endings of the names of the bag's own models
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

_KIND_NAMES = {tuple: "a list", int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


@dataclass(frozen=True, slots=True)
class BagMember:
    """One `[[member]]`.

    Attributes:
        name: letters, digits, - and _; part of Triton's model names.
        file: its ONNX file.
        weight: in the vote, any scale.
        output: which of several outputs holds the class scores; "" where there is one.
    """

    name: str
    file: Path
    weight: float = 1.0
    output: str = ""


@dataclass(frozen=True, slots=True)
class Cuts:
    """The `[cuts]` table.

    Attributes:
        exits: exits wanted before the last.
        max_cut_width: most tensors that a cut may have.
        ramp_budget: share of the bag's work that all ramps together may add.
        grid: side lengths of the pooling grid that may be chosen.
    """

    exits: int = 3
    max_cut_width: int = 2
    ramp_budget: float = 0.02
    grid: tuple[int, ...] = (4, 2, 1)

    def check(self, where: str) -> None:
        """Raise ConfigError, naming `where`, unless every value is allowed."""
        _whole(self.exits, 0, f"{where}: exits")
        _whole(self.max_cut_width, 1, f"{where}: max_cut_width")
        if not 0 <= self.ramp_budget < float("inf"):
            raise ConfigError(f"{where}: ramp_budget = {self.ramp_budget!r}; allowed: a number from 0, 0.02 for 2 %")
        if not self.grid or any(side not in GRIDS for side in self.grid):
            raise ConfigError(f"{where}: grid = {list(self.grid)!r}; allowed: a list of some of {GRIDS}")


@dataclass(frozen=True, slots=True)
class Serving:
    """The `[serving]` table.

    Attributes:
        max_batch_size: most rows of one request and of one ticket.
        instances: copies of each segment that Triton keeps, per device.
        kind: where the segments run; "auto" takes a GPU where there is one.
        baseline: also write the plain ensemble NAME_full.
    """

    max_batch_size: int = 64
    instances: int = 1
    kind: str = "auto"
    baseline: bool = True

    def check(self, where: str) -> None:
        """Raise ConfigError, naming `where`, unless every value is allowed."""
        _whole(self.max_batch_size, 1, f"{where}: max_batch_size")
        _whole(self.instances, 1, f"{where}: instances")
        if self.kind not in KINDS:
            raise unknown("kind", self.kind, KINDS, where)


@dataclass(frozen=True, slots=True)
class BagFile:
    """A bag as its operator described it; every value checked, every path absolute or relative to the caller.

    Attributes:
        where: the file it was read from, for messages.
        labels: names of the classes; None to count them.
        samples: .npy or .npz file of unlabelled inputs, [rows, ...] each; None where the caller passes arrays.
        seed: of splits and ramp training.
    """

    where: str
    name: str
    members: tuple[BagMember, ...]
    samples: Path | None
    labels: tuple[str, ...] | None = None
    mode: str = "ensemble"
    vote: str = "soft"
    schedule: str = "parallel"
    seed: int = 0
    cuts: Cuts = field(default_factory=Cuts)
    serving: Serving = field(default_factory=Serving)
    settings: Settings = field(default_factory=Settings)

    @classmethod
    def read(cls, path: Path | str) -> BagFile:
        """Read a bag file.

        Raises:
            ConfigError: no such file, not TOML, a key that is unknown or missing, or a value that is not allowed.
        """
        path = Path(path)
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, IsADirectoryError):
            raise ConfigError(f"{path}: no such file; a bag file names the bag and its members") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not TOML: {error}") from None
        return _bag(told, path)

    def check(self) -> None:
        """Raise ConfigError, naming file and key, unless every value is allowed."""
        where = self.where
        for key, value, allowed in (
            ("mode", self.mode, MODES),
            ("vote", self.vote, VOTES),
            ("schedule", self.schedule, SCHEDULES),
        ):
            if value not in allowed:
                raise unknown(key, value, allowed, where)
        if self.schedule != "parallel" and self.mode != "engine":
            raise ConfigError(
                f'{where}: schedule = {self.schedule!r} needs mode = "engine": Triton\'s ensembles run all members '
                'side by side (allowed with mode = "ensemble": parallel)'
            )
        _name(self.name, f"{where}: name")
        if not self.members:
            raise ConfigError(f"{where}: no [[member]]; a bag has at least one")
        for number, member in enumerate(self.members):
            _name(member.name, f"{where}: member {number}: name")
            if not (isinstance(member.weight, int | float) and 0 < member.weight < float("inf")):
                raise ConfigError(
                    f"{where}: member {member.name}: weight = {member.weight!r}; allowed: a number above 0"
                )
        self._check_distinct()
        _whole(self.seed, 0, f"{where}: seed")
        if self.labels is not None and len(set(self.labels)) != len(self.labels):
            raise ConfigError(f"{where}: labels: each label once; a client could not tell two of them apart")
        self.cuts.check(f"{where}: [cuts]")
        self.serving.check(f"{where}: [serving]")
        self.settings.check(f"{where}: [exit]")

    def _check_distinct(self) -> None:
        names = [member.name for member in self.members]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"{self.where}: two members are named {name!r}; allowed: each name once")
        for name in names:
            if _TAKEN.fullmatch(name):
                raise ConfigError(f"{self.where}: member name {name!r} is taken by a model of the bag; choose another")


_TOP = ("name", "labels", "samples", "mode", "vote", "schedule", "seed", "member", "cuts", "serving", "exit")


def _bag(told: Mapping[str, Any], path: Path) -> BagFile:
    where, folder = str(path), path.parent
    for key in told:
        if key not in _TOP:
            raise unknown("key", key, _TOP, where)
    for key in ("name", "samples", "member"):
        if key not in told:
            raise ConfigError(f"{where}: {key} is missing; a bag file has at least name, samples and [[member]]")
    members = told["member"]
    if not isinstance(members, list) or not all(isinstance(each, dict) for each in members):
        raise ConfigError(f"{where}: member = {members!r}; allowed: one [[member]] table for each")
    bag = BagFile(
        where=where,
        name=told["name"],
        members=tuple(_member(each, number, where, folder) for number, each in enumerate(members)),
        samples=_path(told["samples"], f"{where}: samples", folder),
        labels=_labels(told.get("labels"), where, folder),
        cuts=_table(Cuts, told.get("cuts", {}), f"{where}: [cuts]"),
        serving=_table(Serving, told.get("serving", {}), f"{where}: [serving]"),
        settings=Settings.from_mapping(_is_table(told.get("exit", {}), f"{where}: [exit]"), f"{where}: [exit]"),
        **{key: told[key] for key in ("mode", "vote", "schedule", "seed") if key in told},
    )
    bag.check()
    return bag


def _member(told: Mapping[str, Any], number: int, where: str, folder: Path) -> BagMember:
    keys = [each.name for each in dataclasses.fields(BagMember)]
    where = f"{where}: member {told.get('name', number)}"
    for key in told:
        if key not in keys:
            raise unknown("key", key, keys, where)
    for key in ("name", "file"):
        if key not in told:
            raise ConfigError(f"{where}: {key} is missing; a member has at least name and file")
    return BagMember(**{**told, "file": _path(told["file"], f"{where}: file", folder)})


def _table(kind: type[Any], told: Any, where: str) -> Any:
    fields = {each.name: each for each in dataclasses.fields(kind)}
    values = {}
    for key, value in _is_table(told, where).items():
        if key not in fields:
            raise unknown("key", key, fields, where)
        wanted = type(fields[key].default)
        fits = isinstance(value, list if wanted is tuple else (int, float) if wanted is float else wanted)
        if not fits or (isinstance(value, bool) and wanted is not bool):
            raise ConfigError(f"{where}: {key} = {value!r}; allowed: {_KIND_NAMES[wanted]}")
        values[key] = tuple(value) if wanted is tuple else value
    return kind(**values)


def _is_table(told: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(told, Mapping):
        raise ConfigError(f"{where}: {told!r}; allowed: a table")
    return told


def _labels(told: Any, where: str, folder: Path) -> tuple[str, ...] | None:
    if told is None:
        return None
    if isinstance(told, list) and all(isinstance(each, str) for each in told):
        return tuple(told)
    file = _path(told, f"{where}: labels", folder)
    try:
        return tuple(file.read_text(encoding="utf-8").splitlines())
    except FileNotFoundError:
        raise ConfigError(f"{where}: labels: {file}: no such file; it holds one label per line") from None


def _path(told: Any, where: str, folder: Path) -> Path:
    if not isinstance(told, str):
        raise ConfigError(f"{where} = {told!r}; allowed: a file name")
    return folder / told


def _name(told: Any, where: str) -> None:
    if not (isinstance(told, str) and _NAME.fullmatch(told)):
        raise ConfigError(
            f"{where} = {told!r}; allowed: letters, digits, - and _, since Triton models are named after it"
        )


def _whole(told: Any, least: int, where: str) -> None:
    if not isinstance(told, int) or isinstance(told, bool) or told < least:
        raise ConfigError(f"{where} = {told!r}; allowed: a whole number from {least}")
