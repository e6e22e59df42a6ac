"""The Parquet log of feedback: what comes back, what a crash costs, what a slow disk costs."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from exeunt.contract import Reason
from exeunt.errors import ConfigError
from exeunt.manifest import Costs
from exeunt.records.decided import DecidedRows, Event
from exeunt.records.feedback import NEVER_SEEN, Feedback
from exeunt.records.parquet import FeedbackLog
from exeunt.records.record import About, read_record, record_files
from exeunt.settings import Settings
from tests.places import ROOT

pytest.importorskip("pyarrow")
COSTS = Costs(np.array([10.0, 20.0, 40.0]), np.array([1.0, 1.0, 0.0]), ((0, 2), (1, 2)))
ABOUT = About("digits", "0123456789abcdef", Settings(max_loss=0.02, service_classes={"gold": 0.001}), COSTS)


def feedback(rows: int, seed: int = 0) -> Feedback:
    rng = np.random.default_rng(seed)
    complete = Feedback.observed(rng.integers(0, 10, (rows, 3)), rng.random((rows, 3)))
    unseen = rng.random((rows, 3)) < 0.2
    unseen[:, -1] = False
    return dataclasses.replace(
        complete,
        labels=np.where(unseen, NEVER_SEEN, complete.labels).astype(np.int32),
        confidence=np.where(unseen, np.float32(np.nan), complete.confidence),
        order=np.where(unseen, NEVER_SEEN, complete.order),
        reason=rng.integers(0, len(Reason), rows).astype(np.int8),
        q=rng.random(rows, dtype=np.float32),
        service_class=rng.integers(0, 2, rows).astype(np.int16),
        tuner_version=rng.integers(0, 9, rows),
        never=rng.random(rows) < 0.1,
    )


def rows_of(rows: int, seed: int = 0) -> DecidedRows:
    return DecidedRows.of(feedback(rows, seed))


def assert_same(one: Feedback, other: Feedback) -> None:
    for field in dataclasses.fields(Feedback):
        column, other_column = getattr(one, field.name), getattr(other, field.name)
        assert column.dtype == other_column.dtype, field.name
        np.testing.assert_array_equal(column, other_column, err_msg=field.name)


@contextmanager
def log_in(folder: Path, **options: float) -> Iterator[FeedbackLog]:
    log = FeedbackLog(folder, ABOUT, **{"flush_s": 60.0} | options)
    try:
        yield log
    finally:
        log.close()


def test_every_column_comes_back_as_it_was_added(tmp_path: Path) -> None:
    items = [feedback(5, 1), feedback(1, 2), feedback(64, 3)]
    with log_in(tmp_path) as log:
        for item in items:
            log.add(DecidedRows.of(item))
    assert_same(read_record(tmp_path).feedback, Feedback.joined(items))


def test_a_record_says_about_which_bag_settings_and_costs_it_is(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        log.add(rows_of(3))
    about = read_record(str(tmp_path)).about
    assert (about.bag, about.content_hash, about.settings) == (ABOUT.bag, ABOUT.content_hash, ABOUT.settings)
    np.testing.assert_array_equal(about.costs.elapsed_us, COSTS.elapsed_us)
    np.testing.assert_array_equal(about.costs.head_us, COSTS.head_us)
    assert about.costs.gears == COSTS.gears


def test_rows_are_readable_after_a_flush_while_the_log_goes_on(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        log.add(rows_of(7))
        assert log.flush()
        assert len(read_record(tmp_path).feedback) == 7


def test_rows_reach_the_disk_by_themselves_within_the_flush_interval(tmp_path: Path) -> None:
    with log_in(tmp_path, flush_s=0.02) as log:
        log.add(rows_of(7))
        waited = threading.Event()
        for _ in range(500):
            if record_files(tmp_path):
                break
            waited.wait(0.02)
        assert len(read_record(tmp_path).feedback) == 7


def test_a_killed_process_loses_only_what_came_after_the_last_flush(tmp_path: Path) -> None:
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; import tests.records.test_parquet as t\n"
        "log = t.FeedbackLog(Path(sys.argv[1]), t.ABOUT, flush_s=60.0)\n"
        "log.add(t.rows_of(6, 1)); assert log.flush(); log.add(t.rows_of(3, 2)); os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path), str(ROOT)], check=False)
    assert ended.returncode == -9
    with log_in(tmp_path) as log:
        log.add(rows_of(2, 3))
    assert_same(read_record(tmp_path).feedback.rows(slice(6)), feedback(6, 1))


def test_numbering_goes_on_after_a_restart_and_so_does_the_order_of_arrivals(tmp_path: Path) -> None:
    for seed in (1, 2):
        with log_in(tmp_path) as log:
            log.add(rows_of(4, seed))
    record = read_record(tmp_path)
    assert record.sequence.tolist() == list(range(8))
    assert len(set(record.run_unix_us.tolist())) == 2
    last = record.feedback.order[:, -1]
    assert (np.diff(last) > 0).all()


def test_small_files_are_merged_and_the_oldest_full_ones_removed(tmp_path: Path) -> None:
    with log_in(tmp_path, max_file_rows=10, max_files=3) as log:
        for number in range(50):
            log.add(rows_of(2, number))
            assert log.flush()
    files = record_files(tmp_path)
    assert len(files) == 3
    assert read_record(tmp_path).sequence.tolist() == list(range(70, 100))


def test_many_small_files_are_merged_before_they_make_a_full_one(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        for number in range(40):
            log.add(rows_of(1, number))
            assert log.flush()
    assert len(record_files(tmp_path)) < 12
    assert_same(read_record(tmp_path).feedback, Feedback.joined([feedback(1, number) for number in range(40)]))


def test_rows_that_a_crash_left_in_two_files_count_once(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        log.add(rows_of(4, 1))
        assert log.flush()
        first = record_files(tmp_path)[0]
        copy = first.read_bytes()
    first.with_name(first.name.replace("000000000000000", "000000000000002")).write_bytes(copy)
    assert_same(read_record(tmp_path).feedback, feedback(4, 1))


def test_rows_that_find_no_room_are_counted_and_leave_a_gap(tmp_path: Path) -> None:
    with log_in(tmp_path, max_waiting_rows=10) as log:
        log.add(rows_of(4, 1))
        log.add(rows_of(8, 2))
        log.add(rows_of(5, 3))
        assert (log.rows, log.dropped_rows) == (9, 8)
    record = read_record(tmp_path)
    assert record.missing_rows == 8
    assert_same(record.feedback, Feedback.joined([feedback(4, 1), feedback(5, 3)]))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="records cannot be written"):
        FeedbackLog(tmp_path / "records", ABOUT)


def test_a_disk_that_fails_is_reported_and_stops_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    with log_in(folder) as log:
        moved = folder.rename(tmp_path / "elsewhere")
        log.add(rows_of(4))
        assert log.flush()
        assert log.failed_rows == 4
        assert "records" in log.last_error
        moved.rename(folder)
        log.add(rows_of(2))
    assert len(read_record(folder).feedback) == 2


def test_two_writers_of_one_bag_in_one_folder_are_refused(tmp_path: Path) -> None:
    with log_in(tmp_path), pytest.raises(ConfigError, match="another process records this bag"):
        FeedbackLog(tmp_path, ABOUT)


def test_a_folder_without_records_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no \*\.feedback\.parquet files"):
        read_record(tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / f"{ABOUT.content_hash}-000.feedback.parquet").write_bytes(b"not parquet")
    with pytest.raises(ConfigError, match=r"000\.feedback\.parquet: not a good record"):
        read_record(tmp_path)


def test_every_event_comes_back_in_order(tmp_path: Path) -> None:
    events: list[Event] = [(1, "taken", None), (2, "expired", [0, [0, 3]]), (3, "finish_probability", 0.5)]
    with log_in(tmp_path) as log:
        log.add(rows_of(1, 1), events)
        log.add(rows_of(1, 2))
        log.add(rows_of(3, 3), [(9, "adopted", None)])
    assert read_record(tmp_path).events == (*events, (9, "adopted", None))


def test_events_of_rows_that_found_no_room_are_written_with_later_rows(tmp_path: Path) -> None:
    with log_in(tmp_path, max_waiting_rows=4) as log:
        log.add(rows_of(8, 1), [(1, "taken", None)])
        log.add(rows_of(2, 2))
    assert read_record(tmp_path).events == ((1, "taken", None),)
