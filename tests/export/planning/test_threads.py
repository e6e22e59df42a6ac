"""Threads of one run in engine mode."""

from __future__ import annotations

import os

import pytest

from exeunt_export.export_bag import export_bag
from exeunt_export.planning.threads import fewest_threads_that_pay, powers_of_two
from tests.export.tiny import tiny_bag


def test_more_threads_are_taken_while_each_doubling_saves_a_tenth() -> None:
    assert fewest_threads_that_pay({1: 100.0, 2: 60.0, 4: 50.0, 8: 49.0}) == 4


def test_threads_that_save_little_are_left_to_other_workers() -> None:
    assert fewest_threads_that_pay({1: 100.0, 2: 95.0, 4: 91.0}) == 1


def test_a_doubling_that_costs_does_not_hide_one_that_pays() -> None:
    assert fewest_threads_that_pay({1: 100.0, 2: 110.0, 4: 70.0}) == 4


def test_candidates_end_at_the_hosts_cores() -> None:
    assert powers_of_two(6) == [1, 2, 4]


@pytest.mark.parametrize(("mode", "table", "allowed"), [
    ("engine", "", range(1, os.cpu_count() + 1)),
    ("engine", "intra_op_threads = 2", [2]),
    ("ensemble", "", [1]),
])  # fmt: skip
def test_an_export_settles_the_number_unless_the_bag_file_does(tmp_path, mode, table, allowed) -> None:
    report = export_bag(tiny_bag(tmp_path, mode=mode, members=1, exit_table=table), tmp_path / "repository")
    assert report.manifest.settings.intra_op_threads in allowed
