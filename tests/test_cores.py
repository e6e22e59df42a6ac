"""How many cores a process may keep busy, with the files of Linux's control groups as containers see them."""

import os
import subprocess
import sys

import pytest

from exeunt.cores import home_cores, usable_cores

ALL = len(os.sched_getaffinity(0))


def group(folder, lines, **files):
    """The cores where the process is in these groups, and these files (`__` is /, `_of_` is a dot) are there."""
    (folder / "cgroup").write_text(lines)
    for path, text in files.items():
        file = folder / "mounted" / path.replace("__", "/").replace("_of_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return usable_cores(folder / "cgroup", folder / "mounted")


def test_without_a_limit_it_is_all_that_the_process_may_run_on(tmp_path):
    assert group(tmp_path, "0::/\n", cpu_of_max="max 100000\n") == ALL


def test_a_containers_share_of_time_counts(tmp_path):
    assert group(tmp_path, "0::/\n", cpu_of_max="100000 100000\n") == 1


def test_a_limit_above_the_cores_changes_nothing(tmp_path):
    assert group(tmp_path, "0::/\n", cpu_of_max="6400000 100000\n") == ALL


@pytest.mark.skipif(ALL < 2, reason="one core is all there is")
def test_a_part_of_a_core_counts_as_none(tmp_path):
    assert group(tmp_path, "0::/\n", cpu_of_max="199999 100000\n") == 1


def test_less_than_a_core_is_one(tmp_path):
    assert group(tmp_path, "0::/\n", cpu_of_max="50000 100000\n") == 1


def test_a_limit_of_a_group_above_counts(tmp_path):
    limits = {"pods__cpu_of_max": "100000 100000\n", "pods__one__cpu_of_max": "max 100000\n"}
    assert group(tmp_path, "0::/pods/one\n", **limits) == 1


def test_a_limit_of_a_group_beside_does_not(tmp_path):
    assert group(tmp_path, "0::/pods/one\n", pods__two__cpu_of_max="100000 100000\n") == ALL


def test_a_limit_of_the_first_version_counts(tmp_path):
    quota = {"cpu__docker__a__cpu_of_cfs_quota_us": "100000\n", "cpu__docker__a__cpu_of_cfs_period_us": "100000\n"}
    assert group(tmp_path, "4:memory:/x\n1:cpu,cpuacct:/docker/a\n", **quota) == 1


def test_no_limit_of_the_first_version_is_none(tmp_path):
    quota = {"cpu__cpu_of_cfs_quota_us": "-1\n", "cpu__cpu_of_cfs_period_us": "100000\n"}
    assert group(tmp_path, "1:cpu:/\n", **quota) == ALL


@pytest.mark.parametrize("text", ["", "a b\n", "100000\n", "-5 100000\n", "100000 0\n", "max max max\n"])
def test_files_that_say_something_else_are_no_limit(tmp_path, text):
    assert group(tmp_path, "0::/\n", cpu_of_max=text) == ALL


def test_without_control_groups_it_is_all_that_the_process_may_run_on(tmp_path):
    assert usable_cores(tmp_path / "none", tmp_path) == ALL


def test_cores_that_the_process_may_not_run_on_do_not_count():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from exeunt.cores import usable_cores"
    ended = subprocess.run([sys.executable, "-c", f"{code}; print(usable_cores())"], capture_output=True, check=True)
    assert ended.stdout.strip() == b"1"


@pytest.mark.parametrize("workers", [1, ALL // 2 or 1, ALL])
def test_no_two_workers_wait_on_one_core_where_there_are_enough(workers):
    homes = [home_cores(number, workers) for number in range(workers)]
    assert sorted(core for home in homes for core in home) == sorted(os.sched_getaffinity(0))


def test_more_workers_than_cores_share_them_evenly():
    homes = [home_cores(number, 3 * ALL) for number in range(3 * ALL)]
    assert all(len(home) == 1 for home in homes)
    assert {homes.count(home) for home in homes} == {3}
