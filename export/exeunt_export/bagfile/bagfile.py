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

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exeunt.errors import ConfigError, check_known
from exeunt.manifest_check import MODES, VOTES
from exeunt.reading import reading, unprintable
from exeunt.settings import Settings
from exeunt_export.bagfile.pictures import ImageInput
from exeunt_export.bagfile.tables import (
    QUANTIZE,
    BagMember,
    Cuts,
    Serving,
    check_name,
    check_whole,
    is_table,
    read_member,
    read_path,
    read_table,
)

__all__ = ["SCHEDULES", "BagFile", "BagMember", "Cuts", "Serving"]

SCHEDULES = ("parallel", "cascade", "auto")
_TAKEN = re.compile(
    r"exit|bag|full|vote|preprocess|stream|from\d+|(from\d+)?to\d+|heads_e\d+|.*_s\d+"
)  # endings of the names of the bag's own models


@dataclass(frozen=True, slots=True)
class BagFile:
    """A bag as its operator described it; every value checked, every path absolute or relative to the caller.

    Attributes:
        where: the file it was read from, for messages.
        name: of the bag and of the model that clients call: letters, digits, - and _.
        members: at least one.
        samples: .npy, .npz, .csv or .parquet file of unlabelled inputs, [rows, ...] each, or a folder of images; None
            where the caller passes arrays.
        labels: names of the classes; None to take those of the members' files, or to count them.
        mode: "ensemble": Triton runs the segments; "engine": the controller's own workers do, for CPUs.
        vote: "soft" is the mean of probabilities, "hard" counts each member's label.
        schedule: "parallel": members side by side; "cascade": one after another; "auto": whatever answers soonest.
        seed: of splits and ramp training.
        inputs: names of the bag's inputs in their order; empty for all that members take.
        preprocess: ONNX file of what is done before, once for all members; its inputs are then the public ones.
        quantize: "int8" quantises every member that does not say otherwise.
        images: public input -> how an image of the samples becomes a row of it.
        cuts: where to cut.
        serving: how it is served.
        settings: how answers may leave.
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
    inputs: tuple[str, ...] = ()
    preprocess: Path | None = None
    quantize: str = "none"
    cuts: Cuts = field(default_factory=Cuts)
    serving: Serving = field(default_factory=Serving)
    settings: Settings = field(default_factory=Settings)
    images: Mapping[str, ImageInput] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | str) -> BagFile:
        """Read a bag file.

        Raises:
            ConfigError: no such file, not TOML, a key that is unknown or missing, or a value that is not allowed.
        """
        path = Path(path)
        if not path.is_file():
            raise ConfigError(f"{path}: no such file; a bag file names the bag and its members")
        with reading(path, "bag file"):
            try:
                text = path.read_text(encoding="utf-8-sig")
            except UnicodeDecodeError as error:
                raise ConfigError(f"{path}: not TOML: {error}") from None
            return cls.parse(text, str(path), path.parent)

    @classmethod
    def parse(cls, text: str, where: str, folder: Path) -> BagFile:
        """Take a bag file's text, TOML; its paths are relative to `folder`, and messages name `where`.

        Raises:
            ConfigError: as for `read`.
        """
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{where}: not TOML: {error}") from None
        return _bag(table, where, folder)

    def check(self) -> None:
        """Raise ConfigError, naming file and key, unless every value is allowed."""
        where = self.where
        check_known("mode", self.mode, MODES, where)
        check_known("vote", self.vote, VOTES, where)
        check_known("schedule", self.schedule, SCHEDULES, where)
        check_known("quantize", self.quantize, QUANTIZE, where)
        check_name(self.name, f"{where}: name")
        if not self.members:
            raise ConfigError(f"{where}: no [[member]]; a bag has at least one")
        for number, member in enumerate(self.members):
            check_name(member.name, f"{where}: member {number}: name")
            member.check(where)
        self._check_distinct()
        check_whole(self.seed, 0, f"{where}: seed")
        for label in self.labels or ():
            if unprintable(label):
                raise ConfigError(f"{where}: labels: {label!r} holds a line break or a control character")
        if self.labels is not None and len(set(self.labels)) != len(self.labels):
            raise ConfigError(f"{where}: labels: each label once; a client could not tell two of them apart")
        self.cuts.check(f"{where}: [cuts]")
        self.serving.check(f"{where}: [serving]")
        self.settings.check(f"{where}: [exit]")
        for name, image in self.images.items():
            image.check(f"{where}: [images.{name}]")

    def _check_distinct(self) -> None:
        names = [member.name for member in self.members]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"{self.where}: two members are named {name!r}; allowed: each name once")
        for name in names:
            if is_taken(name):
                raise ConfigError(f"{self.where}: member name {name!r} is taken by a model of the bag; choose another")


def is_taken(name: str) -> bool:
    """Whether another model of the bag needs this name."""
    return _TAKEN.fullmatch(name) is not None


_CHOICES = ("mode", "vote", "schedule", "seed", "quantize")
_TOP = ("name", "labels", "samples", "inputs", "preprocess", *_CHOICES, "member", "cuts", "serving", "exit", "images")


def _bag(table: Mapping[str, Any], where: str, folder: Path) -> BagFile:
    for key in table:
        check_known("key", key, _TOP, where)
    for key in ("name", "samples", "member"):
        if key not in table:
            raise ConfigError(f"{where}: {key} is missing; a bag file has at least name, samples and [[member]]")
    members = table["member"]
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise ConfigError(f"{where}: member = {members!r}; allowed: one [[member]] table for each")
    bag = BagFile(
        where=where,
        name=table["name"],
        members=tuple(read_member(member, number, where, folder) for number, member in enumerate(members)),
        samples=read_path(table["samples"], f"{where}: samples", folder),
        labels=_labels(table.get("labels"), where, folder),
        inputs=_inputs(table.get("inputs", []), where),
        preprocess=read_path(table["preprocess"], f"{where}: preprocess", folder) if table.get("preprocess") else None,
        cuts=read_table(Cuts, table.get("cuts", {}), f"{where}: [cuts]"),
        serving=read_table(Serving, table.get("serving", {}), f"{where}: [serving]"),
        images={
            name: read_table(ImageInput, item, f"{where}: [images.{name}]")
            for name, item in is_table(table.get("images", {}), f"{where}: [images]").items()
        },
        settings=Settings.from_mapping(is_table(table.get("exit", {}), f"{where}: [exit]"), f"{where}: [exit]"),
        **{key: table[key] for key in _CHOICES if key in table},
    )
    bag.check()
    return bag


def _inputs(value: Any, where: str) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [None]
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
        raise ConfigError(f"{where}: inputs = {value!r}; allowed: a list of the public inputs' names, each once")
    return tuple(names)


def _labels(value: Any, where: str, folder: Path) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return tuple(value)
    file = read_path(value, f"{where}: labels", folder)
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise ConfigError(f"{where}: labels: {file}: no such file; it holds one label per line") from None
    lines = [line.removesuffix("\r") for line in lines]
    while lines and not lines[-1].strip():  # blank lines at the end are nobody's label
        lines.pop()
    return tuple(lines)
