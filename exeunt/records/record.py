"""Records: what happened to every row in Parquet files, one line per row, with what is needed to replay it.

A file holds the columns of DecidedRows and of its Feedback, those over [rows, exits] as lists of fixed length, and:

    sequence          int64, number of the row over the life of the folder; a gap is rows that were dropped
    run_unix_us       int64, when the process started that wrote it; moments and tickets count from 0 in each run
    recorded_unix_us  int64, when the row was handed to the log
    events            text, JSON: what else happened since the line before that has any, [[moment, name, value], ...]

The schema's metadata say about which bag and under which settings and costs it was written. pyarrow is imported late,
so that the core does not need it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exeunt.errors import ConfigError
from exeunt.manifest import Costs, Manifest
from exeunt.reading import reading
from exeunt.records.decided import OWN_COLUMNS, TICKET_EVENTS, DecidedRows, Event
from exeunt.records.feedback import NEVER_SEEN, Feedback
from exeunt.settings import Settings

if TYPE_CHECKING:
    import pyarrow

SCHEMA_VERSION = 2
SUFFIX = ".feedback.parquet"
_METADATA = b"exeunt"
_LINE_COLUMNS = ("sequence", "run_unix_us", "recorded_unix_us", "events")
_MOMENTS = ("order", "decided", "ended")  # columns that count moments
_NEW_RUN: tuple[tuple[str, Any], ...] = (
    ("finish_probability", 1.0),
    ("exits_off", []),
    ("late_thinning", False),
)  # how a process starts


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
    """Recorded rows, in the order in which their tickets were over.

    Attributes:
        about: what it was made from.
        decided: the rows; moments and ticket numbers run on over restarts of the server.
        sequence: int64 [rows].
        run_unix_us: int64 [rows].
        recorded_unix_us: int64 [rows].
        events: what else happened, in order.
    """

    about: About
    decided: DecidedRows
    sequence: np.ndarray
    run_unix_us: np.ndarray
    recorded_unix_us: np.ndarray
    events: tuple[Event, ...]

    @property
    def feedback(self) -> Feedback:
        """The rows that taught the tuner."""
        return self.decided.feedback

    @property
    def missing_rows(self) -> int:
        """Rows between the first and the last that were dropped when the disk could not keep up, or lost in a crash."""
        return int(self.sequence[-1] - self.sequence[0] + 1 - len(self.sequence)) if len(self.sequence) else 0


def table_of(
    decided: DecidedRows,
    about: About,
    *,
    first: int,
    run_unix_us: int,
    recorded_unix_us: int,
    events: Sequence[Event] = (),
) -> pyarrow.Table:
    """Some rows (at least one) as an Arrow table, numbered from `first`; the events go with the first of them."""
    import pyarrow as pa

    rows = len(decided)
    columns: dict[str, Any] = {
        "sequence": pa.array(np.arange(first, first + rows, dtype=np.int64)),
        "run_unix_us": pa.array(np.full(rows, run_unix_us, dtype=np.int64)),
        "recorded_unix_us": pa.array(np.full(rows, recorded_unix_us, dtype=np.int64)),
        "events": pa.array([json.dumps(events) if events else "", *[""] * (rows - 1)]),
    }
    arrays = {column.name: getattr(decided.rows, column.name) for column in dataclasses.fields(Feedback)}
    arrays |= {name: getattr(decided, name) for name in OWN_COLUMNS}
    for name, values in arrays.items():
        if values.ndim == 1:
            columns[name] = pa.array(values)
        else:
            flat = pa.array(np.ascontiguousarray(values).reshape(-1))
            columns[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
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
    hashes = {path.name.split("-")[0] for path in paths}
    if len(hashes) > 1:
        raise ConfigError(f"{folder}: records of several bags ({', '.join(sorted(hashes))}); keep one per folder")
    try:
        tables = [_read(path) for path in paths]
    except FileNotFoundError:  # merged into another one meanwhile
        return read_record(folder, content_hash)
    with reading(folder, "record"):
        abouts = [_about(table, path) for table, path in zip(tables, paths, strict=True)]
        return _joined(tables, abouts[-1])


def _joined(tables: list[pyarrow.Table], about: About) -> Record:
    """The rows of several files, each once, in order."""
    parts = [_columns(table) for table in tables]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    _, first = np.unique(joined["sequence"], return_index=True)  # a crash while files are merged leaves rows twice
    joined = {name: values[first] for name, values in joined.items()}
    sequence, run, recorded, texts = (joined.pop(name) for name in _LINE_COLUMNS)
    events: list[Event] = []
    moment = ticket = 0  # added to a run's counts, so that they follow those of the run before
    for start in np.unique(run):
        here = run == start
        if moment:
            events += [(moment - 1, name, value) for name, value in _NEW_RUN]
        of_run = [event for text in texts[here] if text for event in json.loads(text)]
        events += [_shifted(event, moment, ticket) for event in of_run]
        latest = max([int(joined["ended"][here].max()), int(joined["order"][here].max()), *(e[0] for e in of_run)])
        for name in _MOMENTS:
            joined[name][here] += np.where(joined[name][here] == NEVER_SEEN, 0, moment)
        joined["ticket"][here] += ticket
        moment, ticket = moment + latest + 2, int(joined["ticket"][here].max()) + 1
    own_columns = [joined.pop(name) for name in OWN_COLUMNS]
    decided = DecidedRows(Feedback(**joined), *own_columns)
    return Record(about, decided, sequence, run, recorded, tuple(sorted(events, key=lambda event: event[0])))


def _shifted(event: list[Any], moment: int, ticket: int) -> Event:
    """An event of one run, counted over all runs."""
    at, name, value = event
    if name in TICKET_EVENTS:
        value = [int(value[0]) + ticket, *value[1:]]
    return int(at) + moment, str(name), value


def record_files(folder: Path, content_hash: str | None = None) -> list[Path]:
    """The record files of a bag (of all where None), oldest first."""
    paths = folder.glob(f"{content_hash or '*'}-*{SUFFIX}")
    return sorted(path for path in paths if not path.name.startswith("."))  # those are still being written


def record_name(content_hash: str, sequence: int) -> str:
    """Name of the file whose first row has this sequence number."""
    return f"{content_hash}-{sequence:015d}{SUFFIX}"


def _read(path: Path) -> pyarrow.Table:
    import pyarrow.parquet as pq

    if not path.exists():
        raise FileNotFoundError(path)
    with reading(path, "record"):
        return pq.ParquetFile(path).read()  # not read_table: it would look for a data set around the file


def _columns(table: pyarrow.Table) -> dict[str, np.ndarray]:
    import pyarrow as pa

    names = (*_LINE_COLUMNS, *(column.name for column in dataclasses.fields(Feedback)), *OWN_COLUMNS)
    columns: dict[str, np.ndarray] = {}
    if "heads_version" not in table.column_names:  # written before ramps could learn
        names = tuple(name for name in names if name != "heads_version")
        columns["heads_version"] = np.zeros(len(table), dtype=np.int64)
    for name in names:
        column = table.column(name).combine_chunks()
        if pa.types.is_fixed_size_list(column.type):
            columns[name] = column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), column.type.list_size)
        else:
            columns[name] = column.to_numpy(zero_copy_only=False)
    return columns


def _about_json(about: About) -> bytes:
    content = {
        "schema_version": SCHEMA_VERSION,
        "bag": about.bag,
        "content_hash": about.content_hash,
        "settings": about.settings.to_mapping(),
        "elapsed_us": about.costs.elapsed_us.tolist(),
        "head_us": about.costs.head_us.tolist(),
        "gears": about.costs.gears,
    }
    return json.dumps(content).encode()


def _about(table: pyarrow.Table, path: Path) -> About:
    content = json.loads((table.schema.metadata or {}).get(_METADATA, b"{}"))
    if content.get("schema_version") != SCHEMA_VERSION:
        raise ConfigError(f"{path}: schema_version {content.get('schema_version')!r}; allowed: {SCHEMA_VERSION}")
    gears = tuple(tuple(gear) for gear in content.get("gears", ()))
    costs = Costs(np.array(content["elapsed_us"]), np.array(content["head_us"]), gears)
    settings = Settings.from_mapping(content["settings"], f"{path}: settings")
    return About(content["bag"], content["content_hash"], settings, costs)
