"""Records: feedback in Parquet files, one row per answered input, with what is needed to replay it.

A file holds the columns of Feedback, those over [rows, exits] as lists of fixed length, and five of its own:

    sequence          int64, number of the row over the life of the folder; a gap is rows that were dropped
    run_unix_us       int64, when the process started that wrote it; `order` counts from 0 in each run
    recorded_unix_us  int64, when the row was handed to the log

    taken, adopted    int64, when one of the tuner's jobs was taken and adopted, counted like `order`; each job stands
                      on some row learnt soon after, again on rows that have no new one to tell; -1 before the first.
                      Together with `order` they say what the tuner knew at every decision.

The schema's metadata say about which bag and under which settings and costs it was written. pyarrow is imported late,
so that the core does not need it.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exeunt.errors import ConfigError
from exeunt.manifest import Costs, Manifest
from exeunt.reading import reading
from exeunt.records.feedback import NEVER_SEEN, Feedback
from exeunt.settings import Settings

if TYPE_CHECKING:
    import pyarrow

SCHEMA_VERSION = 1
SUFFIX = ".feedback.parquet"
_METADATA = b"exeunt"
_OWN_COLUMNS = ("sequence", "run_unix_us", "recorded_unix_us", "taken", "adopted")


@dataclass(frozen=True, slots=True)
class About:
    """What a record was made from.

    Attributes:
        bag: name of the bag.
        content_hash: of its manifest.
        settings: the operator's choices at the time.
        costs: latency of the exits at the batch size served most.
    """

    bag: str
    content_hash: str
    settings: Settings
    costs: Costs

    @classmethod
    def of(cls, manifest: Manifest, batch: int = 1) -> About:
        """What a server of this manifest would record; `batch` chooses the profiled costs."""
        return cls(manifest.bag, manifest.content_hash, manifest.settings, manifest.costs(batch))

    @property
    def exits(self) -> int:
        """Number of exits, the full ensemble included."""
        return len(self.costs.elapsed_us)


@dataclass(frozen=True, slots=True)
class Record:
    """Recorded feedback, in the order in which it was learnt.

    Attributes:
        about: what it was made from.
        feedback: the rows; `order` runs on over restarts of the server.
        sequence: int64 [rows].
        run_unix_us: int64 [rows].
        recorded_unix_us: int64 [rows].
        retunes: int64 [jobs, 2], when each of the tuner's jobs was taken and adopted, counted like `order`.
    """

    about: About
    feedback: Feedback
    sequence: np.ndarray
    run_unix_us: np.ndarray
    recorded_unix_us: np.ndarray
    retunes: np.ndarray

    @property
    def missing_rows(self) -> int:
        """Rows between the first and the last that were dropped when the disk could not keep up, or lost in a crash."""
        return int(self.sequence[-1] - self.sequence[0] + 1 - len(self.sequence)) if len(self.sequence) else 0


def table_of(
    feedback: Feedback, about: About, *, first: int, run_unix_us: int, recorded_unix_us: int, retuned: np.ndarray
) -> pyarrow.Table:
    """One learnt batch as an Arrow table; its rows are numbered from `first`; `retuned` is int64 [rows, 2]."""
    import pyarrow as pa

    rows = len(feedback)
    columns: dict[str, Any] = {
        "sequence": pa.array(np.arange(first, first + rows, dtype=np.int64)),
    }
    own = {"run_unix_us": run_unix_us, "recorded_unix_us": recorded_unix_us}
    for name, value in own.items():
        columns[name] = pa.array(np.full(rows, value, dtype=np.int64))
    for name, values in zip(("taken", "adopted"), retuned.T, strict=True):
        columns[name] = pa.array(np.ascontiguousarray(values))
    for each in dataclasses.fields(Feedback):
        values = getattr(feedback, each.name)
        if values.ndim == 1:
            columns[each.name] = pa.array(values)
        else:
            flat = pa.array(np.ascontiguousarray(values).reshape(-1))
            columns[each.name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return pa.table(columns).replace_schema_metadata({_METADATA: _about_json(about)})


def read_record(folder: Path | str, content_hash: str | None = None) -> Record:
    """Read the record of one bag.

    Args:
        folder: where a FeedbackLog wrote, or one of its files.
        content_hash: the bag's, where the folder holds records of several.

    Raises:
        ConfigError: no records there, of several bags, damaged, or written by another version of exeunt.
    """
    folder = Path(folder)
    paths = [folder] if folder.is_file() else record_files(folder, content_hash)
    if not paths:
        raise ConfigError(f"{folder}: no *{SUFFIX} files; `exit.records_dir` makes a server write them")
    found = {path.name.split("-")[0] for path in paths}
    if len(found) > 1:
        raise ConfigError(f"{folder}: records of several bags ({', '.join(sorted(found))}); keep one per folder")
    try:
        tables = [_read(path) for path in paths]
    except FileNotFoundError:  # merged into another one meanwhile
        return read_record(folder, content_hash)
    with reading(folder, "record"):
        return _joined(tables, paths[-1])


def _joined(tables: list[pyarrow.Table], newest: Path) -> Record:
    """The rows of several files, each once, in order."""
    parts = [_columns(table) for table in tables]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    _, first = np.unique(joined["sequence"], return_index=True)  # a crash while files are merged leaves rows twice
    joined = {name: values[first] for name, values in joined.items()}
    sequence, run, recorded, taken, adopted = (joined.pop(name) for name in _OWN_COLUMNS)
    offsets = _offsets(joined["order"], run)
    joined["order"] += np.where(joined["order"] == NEVER_SEEN, 0, offsets[:, None])
    pairs = np.stack([taken + offsets, adopted + offsets], axis=1)[adopted >= 0]
    return Record(_about(tables[-1], newest), Feedback(**joined), sequence, run, recorded, np.unique(pairs, axis=0))


def record_files(folder: Path, content_hash: str | None = None) -> list[Path]:
    """The record files of a bag (of all where None), oldest first."""
    found = folder.glob(f"{content_hash or '*'}-*{SUFFIX}")
    return sorted(path for path in found if not path.name.startswith("."))  # those are still being written


def record_name(content_hash: str, sequence: int) -> str:
    """Name of the file whose first row has this sequence number."""
    return f"{content_hash}-{sequence:015d}{SUFFIX}"


def _offsets(order: np.ndarray, run_unix_us: np.ndarray) -> np.ndarray:
    """What puts each run's counts behind those of the run before; int64 [rows]."""
    offsets = np.zeros(len(order), dtype=np.int64)
    ended = 0
    for start in np.unique(run_unix_us):
        here = run_unix_us == start
        offsets[here] = ended
        ended += int(order[here].max()) + 1
    return offsets


def _read(path: Path) -> pyarrow.Table:
    import pyarrow.parquet as pq

    if not path.exists():
        raise FileNotFoundError(path)
    with reading(path, "record"):
        return pq.ParquetFile(path).read()  # not read_table: it would look for a data set around the file


def _columns(table: pyarrow.Table) -> dict[str, np.ndarray]:
    import pyarrow as pa

    wanted = (*_OWN_COLUMNS, *(each.name for each in dataclasses.fields(Feedback)))
    columns: dict[str, np.ndarray] = {}
    for name in wanted:
        column = table.column(name).combine_chunks()
        if pa.types.is_fixed_size_list(column.type):
            columns[name] = column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), column.type.list_size)
        else:
            columns[name] = column.to_numpy(zero_copy_only=False)
    return columns


def _about_json(about: About) -> bytes:
    told = {
        "schema_version": SCHEMA_VERSION,
        "bag": about.bag,
        "content_hash": about.content_hash,
        "settings": about.settings.to_mapping(),
        "elapsed_us": about.costs.elapsed_us.tolist(),
        "head_us": about.costs.head_us.tolist(),
    }
    return json.dumps(told).encode()


def _about(table: pyarrow.Table, path: Path) -> About:
    told = json.loads((table.schema.metadata or {}).get(_METADATA, b"{}"))
    if told.get("schema_version") != SCHEMA_VERSION:
        raise ConfigError(f"{path}: schema_version {told.get('schema_version')!r}; allowed: {SCHEMA_VERSION}")
    costs = Costs(np.array(told["elapsed_us"]), np.array(told["head_us"]))
    return About(told["bag"], told["content_hash"], Settings.from_mapping(told["settings"], f"{path}: settings"), costs)
