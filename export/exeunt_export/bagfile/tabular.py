"""Samples as a table, CSV or Parquet: all columns side by side as one input, or one input per column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exeunt.errors import ConfigError
from exeunt.reading import reading

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".csv", ".tsv", ".parquet")


def load_table(path: Path, inputs: Sequence[str], where: str) -> dict[str, np.ndarray]:
    """Read a table of numbers.

    Args:
        path: .csv or .tsv with a line of names, or .parquet.
        inputs: public inputs; of several each is the column of its name, else all columns make up the one input.
        where: file and key, for messages.

    Returns:
        public input -> [rows] each, or "" -> [rows, columns].

    Raises:
        ConfigError: no such table, a column that is missing, or one that holds no numbers.
    """
    with reading(path, "table, CSV or Parquet"):
        table = _read(path)
    names = list(inputs) if len(inputs) > 1 else table.column_names
    for name in names:
        if name not in table.column_names:
            raise ConfigError(
                f"{where}: {path}: no column {name!r} for the input of that name; there are "
                f"{', '.join(table.column_names)}"
            )
    columns = {name: _numbers(table.column(name), f"{where}: {path}: column {name!r}") for name in names}
    if len(inputs) > 1:
        return columns
    if not columns:
        raise ConfigError(f"{where}: {path}: no columns")
    return {"": np.stack(list(columns.values()), axis=1)}


def _read(path: Path) -> pa.Table:
    if path.suffix.lower() == ".parquet":
        from pyarrow import parquet

        return parquet.read_table(path)
    from pyarrow import csv

    return csv.read_csv(path, parse_options=csv.ParseOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ","))


def _numbers(column: pa.ChunkedArray, where: str) -> np.ndarray:
    """A column as numbers, [rows]; what is missing is NaN."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise ConfigError(
            f"{where} holds {kind}; allowed: numbers. Encode it as the members were trained on it, or leave it out"
        )
    return np.asarray(column.to_numpy())
