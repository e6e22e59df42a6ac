"""Heads in files: .npz without pickles, replaced whole and durably, 0600. They hold heads only, never features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exeunt.array_files import load_arrays, save_arrays, write_private
from exeunt.contract import features_name
from exeunt.deciding.heads import Head, Heads, Pair
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest
from exeunt.reading import reading

SCHEMA_VERSION = 1
MOST_CHANGES = 2**62  # what an int64 can count
HEADS_FILE = "heads.npz"  # beside the manifest: the exported heads of the ramps that can learn


@dataclass(frozen=True, slots=True)
class HeadsFile:
    """What a file of heads holds.

    Attributes:
        heads: in use.
        previous: those before, for who wants them back; None where there are none.
        command: number of the last command of an operator that was obeyed; 0 = none.
    """

    heads: Heads
    previous: Heads | None = None
    command: int = 0


def named_heads(table: Mapping[Pair, Head], prefix: str) -> dict[str, np.ndarray]:
    """Heads as arrays by name."""
    named = {}
    for (member, depth), head in table.items():
        named[f"{prefix}{member}.{depth}.weight"] = head.weight
        named[f"{prefix}{member}.{depth}.bias"] = head.bias
    return named


def heads_of(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[Pair, Head]:
    """What `named_heads` named.

    Raises:
        ValueError, KeyError: the arrays are not those of heads.
    """
    table = {}
    for name in sorted(arrays):
        if name.startswith(prefix) and name.endswith(".weight"):
            stem = name.removesuffix(".weight")
            member, depth = stem.removeprefix(prefix).split(".")
            weight, bias = arrays[name], arrays[f"{stem}.bias"]
            table[int(member), int(depth)] = Head(weight.astype(np.float32), bias.astype(np.float32))
    return table


def read_arrays(path: Path, what: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of an .npz file.

    Raises:
        ConfigError: missing, damaged, or of another version of exeunt.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    with reading(path, what):
        with path.open("rb") as file:
            head, arrays = load_arrays(file)
        if head["schema_version"] != SCHEMA_VERSION:
            raise ConfigError(f"{path}: schema_version {head['schema_version']!r}; allowed: {SCHEMA_VERSION}")
        return head, arrays


def save_exported(path: Path, table: Mapping[Pair, Head]) -> None:
    """Write the heads that an export made; those of the ramps that can learn.

    Raises:
        OSError: the disk refuses.
    """
    save_arrays(path, {"schema_version": SCHEMA_VERSION}, named_heads(table, "heads."))


def load_exported(folder: Path, manifest: Manifest) -> dict[Pair, Head]:
    """The exported heads of the ramps that can learn; empty where the bag has none.

    Raises:
        ConfigError: the bag was not exported to learn, or the file is damaged.
    """
    path = folder / HEADS_FILE
    if not path.is_file():
        raise ConfigError(
            f"{path}: no such file, so exit.learn_ramps = true cannot be obeyed; export the bag with it in its bag file"
        )
    _, arrays = read_arrays(path, "file of heads; export again")
    with reading(path, "file of heads; export again"):
        table = heads_of(arrays, "heads.")
        check_heads(table, manifest, str(path))
        return table


def save_heads(path: Path, heads_file: HeadsFile, manifest: Manifest) -> None:
    """Replace a server's file of heads.

    Raises:
        OSError: it could not be written; the old file is still there.
    """
    previous = heads_file.previous
    head = {
        "schema_version": SCHEMA_VERSION,
        "bag": manifest.bag,
        "content_hash": manifest.content_hash,
        "version": heads_file.heads.version,
        "previous_version": None if previous is None else previous.version,
        "command": heads_file.command,
    }
    arrays = named_heads(heads_file.heads.table, "heads.")
    write_private(path, head, arrays | named_heads({} if previous is None else previous.table, "previous."))


def load_heads(path: Path, manifest: Manifest) -> HeadsFile | None:
    """A server's file of heads; None where there is none.

    Raises:
        ConfigError: damaged, of another bag, or of another version of exeunt.
    """
    if not path.exists():
        return None
    head, arrays = read_arrays(path, "file of heads")
    with reading(path, "file of heads"):
        if head["content_hash"] != manifest.content_hash:
            raise ConfigError(
                f"{path}: heads of bag {head['bag']!r} {head['content_hash']}, this one is {manifest.bag!r} "
                f"{manifest.content_hash}; allowed: heads of the very same export"
            )
        table, before = heads_of(arrays, "heads."), heads_of(arrays, "previous.")
        check_heads(table, manifest, str(path))
        check_heads(before, manifest, str(path))
        version, command, number = head["version"], head["command"], head["previous_version"]
        for count in (version, command, number or 0):
            if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < MOST_CHANGES:
                raise ConfigError(f"{path}: a version or command is {str(count)[:40]}; allowed: a whole number from 0")
        previous = None if number is None else Heads(number, before)
        return HeadsFile(Heads(version, table), previous, command)


def check_heads(table: Mapping[Pair, Head], manifest: Manifest, where: str) -> None:
    """Raise ConfigError, naming `where`, unless every head fits its ramp and is finite."""
    for (member, depth), head in table.items():
        in_bag = member < len(manifest.members) and 0 < depth < manifest.members[member].depth
        features = manifest.members[member].segments[depth - 1].features if in_bag else None
        if features is None:
            raise ConfigError(f"{where}: a head of member {member} at depth {depth}, where the bag has no ramp")
        name = features_name(manifest.members[member].name, depth)
        shape = (int(np.prod(features.dims)), manifest.classes)
        if head.weight.shape != shape or head.bias.shape != shape[1:]:
            raise ConfigError(f"{where}: head of {name} is {list(head.weight.shape)}; allowed: {list(shape)}")
        if not (np.isfinite(head.weight).all() and np.isfinite(head.bias).all()):
            raise ConfigError(f"{where}: head of {name} holds numbers that are not finite")
