"""Finished rows in a file, for operators who want them to outlast a restart: 0600, their age bounded as in memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from exeunt.array_files import write_private
from exeunt.deciding.heads import Pair
from exeunt.errors import ConfigError
from exeunt.learning.files import SCHEMA_VERSION, read_arrays
from exeunt.learning.rows import ServedRows
from exeunt.manifest import Manifest
from exeunt.reading import reading


def save_rows(path: Path, rows: ServedRows, manifest: Manifest, now_us: int) -> None:
    """Replace the file of rows.

    Args:
        path: the file.
        rows: to keep.
        manifest: of the bag.
        now_us: the time by the clock of `arrived_us`.

    Raises:
        OSError: it could not be written; the old file is still there.
    """
    head = {"schema_version": SCHEMA_VERSION, "content_hash": manifest.content_hash, "saved_unix_us": _unix_us()}
    arrays = rows.arrays() | {"arrived_us": rows.arrived_us - now_us}  # ages, negative
    write_private(path, head, arrays)


def load_rows(path: Path, manifest: Manifest, ramps: Sequence[Pair], now_us: int) -> ServedRows | None:
    """The kept rows, as old as they are; None where there are none.

    Args:
        path: the file.
        manifest: of the bag.
        ramps: whose features the rows must have.
        now_us: the time by the clock of `arrived_us`.

    Raises:
        ConfigError: damaged, or of another bag.
    """
    if not path.exists():
        return None
    head, arrays = read_arrays(path, "file of rows")
    with reading(path, "file of rows"):
        if head["content_hash"] != manifest.content_hash:
            raise ConfigError(f"{path}: rows of another bag")
        away_us = max(0, _unix_us() - int(head["saved_unix_us"]))
        rows = ServedRows.of(arrays)
        _check(rows, manifest, ramps, path)
        return replace(rows, arrived_us=rows.arrived_us + now_us - away_us)


def _check(rows: ServedRows, manifest: Manifest, ramps: Sequence[Pair], path: Path) -> None:
    count = len(rows)
    shapes: dict[str, tuple[int, ...]] = {"logs": (count, len(manifest.members), manifest.classes)}
    for member, depth in ramps:
        features = manifest.members[member].segments[depth - 1].features
        assert features is not None  # a ramp that can learn has them
        shapes[f"features.{member}.{depth}"] = (count, int(np.prod(features.dims)))
    for name, array in rows.arrays().items():
        if array.shape != shapes.get(name, (count,)):
            raise ConfigError(f"{path}: {name} is {list(array.shape)}; rows of another bag")
    strange = count and (rows.labels.max() >= manifest.classes or not ((rows.q > 0) & (rows.q <= 1)).all())
    if set(rows.features) != set(ramps) or strange:
        raise ConfigError(f"{path}: rows of another bag")


def _unix_us() -> int:
    return time.time_ns() // 1000
