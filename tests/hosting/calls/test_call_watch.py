"""Calls that Triton never answers are found by their age."""

from __future__ import annotations

from exeunt.hosting.calls.call_watch import LEAST_PATIENCE_S, CallWatch, patience_us


def test_a_call_within_its_time_is_not_lost() -> None:
    watch = CallWatch(100)
    watch.begin("a", 1, now_us=0)
    assert watch.take_lost(100) == [] and watch.end("a") and watch.lost == 0


def test_a_call_beyond_its_time_is_lost_once_and_its_return_is_told_so() -> None:
    watch = CallWatch(100)
    watch.begin("a", 1, now_us=0)
    watch.begin("b", 2, now_us=50)
    assert watch.take_lost(101) == [("a", 1)]
    assert watch.take_lost(120) == [] and watch.lost == 1
    assert not watch.end("a") and watch.end("b")


def test_who_waits_for_one_call_after_the_other_is_judged_by_the_newest() -> None:
    watch = CallWatch(100)
    watch.begin("a", 1, now_us=0)
    watch.end("a")
    watch.begin("a", 2, now_us=90)
    assert watch.take_lost(150) == []


def test_the_setting_counts_where_it_is_given() -> None:
    assert patience_us(2.5, max_tickets=16, full_work_us=1e9) == 2_500_000


def test_large_bags_are_given_more_time_than_small_ones() -> None:
    assert patience_us(0.0, 16, 10_000.0) == LEAST_PATIENCE_S * 1e6
    assert patience_us(0.0, 16, 5e6) == 4 * 16 * 5_000_000
