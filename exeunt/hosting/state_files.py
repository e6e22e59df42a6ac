"""The small JSON files in a server's `state_dir`: where they are, and how they are read and written."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from exeunt.errors import ConfigError, check_known
from exeunt.reading import read_json_table
from exeunt.whole_files import replacing

SCHEMA_VERSION = 1
STATE_DIR_VARIABLE = "EXEUNT_STATE_DIR"
STATE_URL_VARIABLE = "EXEUNT_STATE_URL"
DRAIN_SUFFIX, DRAINED_SUFFIX = ".drain", ".drained"  # see exeunt.serving.drain


def default_state_dir() -> Path:
    """Folder of status, control and learnt state where none is named: $EXEUNT_STATE_DIR or ~/.local/state/exeunt."""
    folder = os.environ.get(STATE_DIR_VARIABLE)
    return Path(folder) if folder else Path.home() / ".local" / "state" / "exeunt"


def read_fields(path: Path, kind: type) -> dict[str, Any]:
    """The JSON table of `path`, checked for schema version and keys, which are the fields of `kind`."""
    values = read_json_table(path, "JSON file")
    version = values.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise ConfigError(f"{path}: schema_version {version!r}; allowed: {SCHEMA_VERSION}")
    names = [field_.name for field_ in dataclasses.fields(kind)]
    for key in values:
        check_known("key", key, names, str(path))
    return values


def write_fields(path: Path, content: Any) -> None:
    """Replace a file by the fields of a dataclass; makes the folder where it is missing."""
    table = {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(content)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        text = json.dumps(table, indent=1, allow_nan=False, default=lambda number: number.item())  # of numpy
        file.write(text.encode() + b"\n")
