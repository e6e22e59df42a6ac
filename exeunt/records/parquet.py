"""FeedbackLog: writes what happened to every row to Parquet beside serving. Never blocks, bounded, loses little.

    add -> waiting rows (bounded) -> every flush_s one small complete file -> merged -> full files, the oldest removed

Every file appears whole, so a crash costs at most the rows of one flush interval.
"""

from __future__ import annotations

import fcntl
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from exeunt.errors import ConfigError
from exeunt.records.decided import DecidedRows, Event
from exeunt.records.record import About, record_files, record_name, table_of
from exeunt.whole_files import replacing

if TYPE_CHECKING:
    import pyarrow

MOST_PARTS = 32  # flushed files before they are merged
FLUSH_TIMEOUT_S = 10.0


class FeedbackLog:
    """Writes the rows of tickets to a folder.

    Use it as a listener: `controller.decisions.on_over.append(log.add)`. One writer per folder and bag.

    Args:
        folder: made where it is missing.
        about: what the rows come from; its content hash names the files.
        max_file_rows: rows of a full file.
        max_files: full files kept; the oldest are removed.
        flush_s: longest time that rows wait before they are on disk.
        max_waiting_rows: rows that may wait for the writer; further ones are dropped and counted.

    Attributes:
        rows: rows taken.
        dropped_rows: rows refused because too many were waiting; they leave a gap in `sequence`.
        failed_rows: rows that could not be written.
        last_error: why, "" if all went well.

    Raises:
        ConfigError: the folder cannot be written, or another process records the same bag there.
    """

    def __init__(
        self,
        folder: Path,
        about: About,
        *,
        max_file_rows: int = 131_072,
        max_files: int = 32,
        flush_s: float = 2.0,
        max_waiting_rows: int = 65_536,
    ) -> None:
        import pyarrow.parquet  # noqa: F401 - fail here, not in the writer

        self.rows = self.dropped_rows = self.failed_rows = 0
        self.last_error = ""
        self._about = about
        self._flush_s = flush_s
        self._max_waiting_rows = max_waiting_rows
        self._run_unix_us = time.time_ns() // 1000
        self._lock = _claim(folder, about.content_hash)
        self._files = _Files(folder, about.content_hash, max_file_rows, max_files)
        self._sequence = self._files.next_sequence
        self._waiting: deque[_Batch] = deque()
        self._waiting_rows = 0
        self._events: list[Event] = []  # that no row has been written with yet
        self._wake = threading.Condition()
        self._closing = False
        self._flush_wanted = 0
        self._flush_done = 0
        self._writer = threading.Thread(target=self._write, name="exeunt-records", daemon=True)
        self._writer.start()

    def add(self, decided: DecidedRows, events: Sequence[Event] = ()) -> None:
        """Take the rows of a ticket that is over; returns at once.

        Args:
            decided: its arrays must not be changed later.
            events: what else happened since the last call.
        """
        rows = len(decided)
        with self._wake:
            self._events.extend(events)
            first = self._sequence
            self._sequence += rows
            if self._closing or self._waiting_rows + rows > self._max_waiting_rows:
                self.dropped_rows += rows
                return
            self.rows += rows
            self._waiting_rows += rows
            self._waiting.append(_Batch(first, time.time_ns() // 1000, self._events, decided))
            self._events = []

    def metrics(self) -> dict[str, float]:
        """Rows taken, dropped and failed so far, by name."""
        return {"rows": self.rows, "dropped_rows": self.dropped_rows, "failed_rows": self.failed_rows}

    def flush(self) -> bool:
        """Wait until everything added before is on disk (or has failed); False if it took too long."""
        with self._wake:
            self._flush_wanted += 1
            mine = self._flush_wanted
            self._wake.notify_all()
            return self._wake.wait_for(lambda: self._flush_done >= mine, FLUSH_TIMEOUT_S)

    def close(self) -> None:
        """Write what waits and stop; later rows are dropped."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._writer.join()
        self._lock.close()

    def _write(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closing or self._flush_wanted > self._flush_done, self._flush_s)
                closing, requested = self._closing, self._flush_wanted
                batches = list(self._waiting)
                self._waiting.clear()
                self._waiting_rows = 0
            if batches:
                self._write_batches(batches)
            with self._wake:
                self._flush_done = requested
                self._wake.notify_all()
            if closing:
                return

    def _write_batches(self, batches: list[_Batch]) -> None:
        import pyarrow as pa

        table = pa.concat_tables([self._table(batch) for batch in batches])
        try:
            self._files.add(table, batches[0].first)
        except (OSError, pa.ArrowException) as error:
            with self._wake:
                self.failed_rows += len(table)
                self.last_error = str(error)

    def _table(self, batch: _Batch) -> pyarrow.Table:
        return table_of(
            batch.decided,
            self._about,
            first=batch.first,
            run_unix_us=self._run_unix_us,
            recorded_unix_us=batch.recorded_unix_us,
            events=batch.events,
        )


class _Batch(NamedTuple):
    first: int  # sequence number of its first row
    recorded_unix_us: int
    events: list[Event]
    decided: DecidedRows


class _Files:
    """The files of one bag in a folder: small parts, merged into full files, the oldest of which are removed."""

    def __init__(self, folder: Path, content_hash: str, max_file_rows: int, max_files: int) -> None:
        import pyarrow.parquet as pq

        self._folder = folder
        self._content_hash = content_hash
        self._max_file_rows = max_file_rows
        self._max_files = max_files
        self._full: list[Path] = []
        self._parts: list[tuple[Path, int]] = []  # with their rows
        self.next_sequence = 0
        for leftover in folder.glob(f".{content_hash}-*"):
            leftover.unlink()  # half-written when an earlier process died
        for path in record_files(folder, content_hash):
            rows = _rows(path)
            if rows is None:
                continue  # not ours to remove; the reader will name it
            if rows >= max_file_rows:
                self._full.append(path)
            else:
                self._parts.append((path, rows))
            last = pq.ParquetFile(path).read(columns=["sequence"]).column("sequence")
            self.next_sequence = max(self.next_sequence, last[len(last) - 1].as_py() + 1)

    def add(self, table: pyarrow.Table, first_sequence: int) -> None:
        path = self._folder / record_name(self._content_hash, first_sequence)
        _write(path, table)
        self._parts.append((path, len(table)))
        rows = sum(count for _, count in self._parts)
        if rows >= self._max_file_rows or len(self._parts) >= MOST_PARTS:
            self._merge(rows)
        while len(self._full) > self._max_files:
            self._full.pop(0).unlink(missing_ok=True)

    def _merge(self, rows: int) -> None:
        """Make one file of the parts. Readers meanwhile see rows twice at worst, and keep the first of each."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if len(self._parts) > 1:
            merged = pa.concat_tables([pq.ParquetFile(path).read() for path, _ in self._parts])
            _write(self._parts[0][0], merged)
            for path, _ in self._parts[1:]:
                path.unlink(missing_ok=True)
        path = self._parts[0][0]
        if rows >= self._max_file_rows:
            self._full.append(path)
            self._parts = []
        else:
            self._parts = [(path, rows)]


def _claim(folder: Path, content_hash: str) -> IO[str]:
    """Hold the folder for one bag until the returned file is closed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / f"{content_hash}.lock").open("w")
    except OSError as error:
        raise ConfigError(f"{folder}: records cannot be written there: {error}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ConfigError(f"{folder}: another process records this bag there; give each server its own") from None
    return lock


def _write(path: Path, table: pyarrow.Table) -> None:
    import pyarrow.parquet as pq

    with replacing(path, durably=True) as file:
        pq.write_table(table, file, compression="zstd")


def _rows(path: Path) -> int | None:
    """Rows of a file, None where it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError):
        return None
