"""The tables of a bag file, [[member]], [cuts] and [serving], and how their values are read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exeunt.errors import ConfigError, check_known, unknown
from exeunt.manifest_check import MOST_BATCH_ROWS
from exeunt.settings import typed
from exeunt_export.counting import COUNTED, MEASURED

KINDS = ("auto", "cpu", "gpu")
ONE_VS_REST = "one_vs_rest"
SCORES = ("auto", "logits", "probabilities", ONE_VS_REST)
QUANTIZE = ("none", "int8")
GRIDS = (8, 4, 2, 1)
MOST = 2**31 - 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class BagMember:
    """One `[[member]]`.

    Attributes:
        name: letters, digits, - and _; part of Triton's model names.
        file: its ONNX file.
        weight: in the vote, any scale.
        output: which of several outputs holds the class scores; "" where there is one.
        scores: what it holds: "logits", "probabilities", or "one_vs_rest", a probability of each class by itself of
            which the largest counts; "auto" finds out.
        inputs: its own (or its preprocessing's) name of an input -> the public one, where they differ.
        preprocess: ONNX file of what is done to the inputs before.
        exits: outputs that are exits of its own, in depth order.
        quantize: "int8" or "none"; "" as the bag says.
    """

    name: str
    file: Path
    weight: float = 1.0
    output: str = ""
    scores: str = "auto"
    inputs: Mapping[str, str] = field(default_factory=dict)
    preprocess: Path | None = None
    exits: tuple[str, ...] = ()
    quantize: str = ""

    def check(self, where: str) -> None:
        """Raise ConfigError, naming `where`, unless weight, scores and quantize are allowed."""
        where = f"{where}: member {self.name}"
        if not (isinstance(self.weight, int | float) and 0 < self.weight < float("inf")):
            raise ConfigError(f"{where}: weight = {self.weight!r}; allowed: a number above 0")
        check_known("scores", self.scores, SCORES, where)
        if not all(isinstance(exit_, str) and exit_ for exit_ in self.exits):
            raise ConfigError(f"{where}: exits = {list(self.exits)!r}; allowed: a list of outputs in depth order")
        if self.quantize not in ("", *QUANTIZE):
            raise unknown("quantize", self.quantize, QUANTIZE, where)
        if not all(isinstance(input_, str) and input_ for input_ in self.inputs.values()):
            raise ConfigError(f'{where}: inputs = {dict(self.inputs)!r}; allowed: its own name = "public name"')


STAGES = ("auto", "members", "exits")


@dataclass(frozen=True, slots=True)
class Cuts:
    """The `[cuts]` table.

    Attributes:
        exits: exits wanted before the last.
        max_cut_width: most tensors that a cut may have.
        ramp_budget: share of the bag's work that all ramps together may add.
        grid: side lengths of the pooling grid that may be chosen.
        times: where cuts are placed by: times "measured" on this machine, or operations "counted", the same everywhere.
        stages: of ensemble mode: they end after whole "members", inside members at all "exits" that allow it, or at
            those of them that pay ("auto").
    """

    exits: int = 3
    max_cut_width: int = 2
    ramp_budget: float = 0.02
    grid: tuple[int, ...] = (4, 2, 1)
    times: str = MEASURED
    stages: str = "auto"

    def check(self, where: str) -> None:
        """Raise ConfigError, naming `where`, unless every value is allowed."""
        check_whole(self.exits, 0, f"{where}: exits")
        check_whole(self.max_cut_width, 1, f"{where}: max_cut_width")
        if not 0 <= self.ramp_budget < float("inf"):
            raise ConfigError(f"{where}: ramp_budget = {self.ramp_budget!r}; allowed: a number from 0, 0.02 for 2 %")
        if not self.grid or any(side not in GRIDS for side in self.grid):
            raise ConfigError(f"{where}: grid = {list(self.grid)!r}; allowed: a list of some of {GRIDS}")
        check_known("times", self.times, (MEASURED, COUNTED), where)
        check_known("stages", self.stages, STAGES, where)


@dataclass(frozen=True, slots=True)
class Serving:
    """The `[serving]` table.

    Attributes:
        max_batch_size: most rows of one request and of one ticket.
        instances: copies of each segment that Triton keeps, per device.
        kind: where the segments run; "auto" takes a GPU where there is one.
        baseline: also write the plain ensemble NAME_full.
        stream: also write NAME_stream, which sends the rows of a request as they leave (gRPC streams).
        top: labels in the outputs TOP_LABELS and TOP_PROBABILITIES; 0 for no such outputs.
    """

    max_batch_size: int = 64
    instances: int = 1
    kind: str = "auto"
    baseline: bool = True
    stream: bool = False
    top: int = 0

    def check(self, where: str) -> None:
        """Raise ConfigError, naming `where`, unless every value is allowed."""
        check_whole(self.max_batch_size, 1, f"{where}: max_batch_size", MOST_BATCH_ROWS)
        check_whole(self.instances, 1, f"{where}: instances")
        check_whole(self.top, 0, f"{where}: top")
        check_known("kind", self.kind, KINDS, where)


def read_member(table: Mapping[str, Any], number: int, where: str, folder: Path) -> BagMember:
    """A [[member]]; ConfigError for a key that is unknown or missing. Paths are relative to `folder`."""
    keys = [field_.name for field_ in dataclasses.fields(BagMember)]
    where = f"{where}: member {table.get('name', number)}"
    for key in table:
        check_known("key", key, keys, where)
    for key in ("name", "file"):
        if key not in table:
            raise ConfigError(f"{where}: {key} is missing; a member has at least name and file")
    paths = {key: read_path(table[key], f"{where}: {key}", folder) for key in ("file", "preprocess") if table.get(key)}
    tables = {"inputs": is_table(table["inputs"], f"{where}: inputs")} if "inputs" in table else {}
    exits = table.get("exits", [])
    lists = {"exits": tuple(exits) if isinstance(exits, list) else (exits,)}
    return BagMember(**{**table, "preprocess": None, **paths, **tables, **lists})


def read_table(kind: type[Any], table: Any, where: str) -> Any:
    """A table whose keys are the fields of `kind`; ConfigError for an unknown key or a value of a wrong type."""
    fields = {field_.name: field_ for field_ in dataclasses.fields(kind)}
    values = {}
    for key, value in is_table(table, where).items():
        check_known("key", key, fields, where)
        allowed_type = type(fields[key].default)
        typed(value, "list" if allowed_type is tuple else allowed_type.__name__, f"{where}: {key}")
        values[key] = tuple(value) if allowed_type is tuple else value
    return kind(**values)


def is_table(table: Any, where: str) -> Mapping[str, Any]:
    """`table`, if it is a table."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: {table!r}; allowed: a table")
    return table


def read_path(name: Any, where: str, folder: Path) -> Path:
    """A file name relative to `folder`."""
    if not isinstance(name, str):
        raise ConfigError(f"{where} = {name!r}; allowed: a file name")
    return folder / name


def check_name(name: Any, where: str) -> None:
    """Raise ConfigError, naming `where`, unless `name` can be part of a Triton model's name."""
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ConfigError(
            f"{where} = {name!r}; allowed: letters, digits, - and _, since Triton models are named after it"
        )


def check_whole(value: Any, least: int, where: str, most: int = MOST) -> None:
    """Raise ConfigError, naming `where`, unless `value` is a whole number from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigError(f"{where} = {value!r}; allowed: a whole number from {least} to {most}")
