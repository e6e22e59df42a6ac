"""Streams and the comparison's material: arrivals, shapes, records of made streams, what the report claims."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.comparison.made_stream import made_stream
from benchmarks.comparison.material import Material, certain_from, records_folder, stream_of, write_stream
from benchmarks.comparison.report import _by_scenario, _data_section, against_hill_climb, targets
from benchmarks.comparison.run import BEST_FIXED, PAPER, ComparedStream, ComparisonPlan
from benchmarks.comparison.scenarios import ANY, Scenario, scenarios
from exeunt.records.decided import DecidedRows
from exeunt.records.feedback import Feedback
from exeunt.replay.hindsight import Fixed, answer_fixed
from exeunt.replay.replay import replay
from exeunt.replay.run import ReplayResult, result_of
from exeunt.replay.stream import completed_exits, recorded_stream, tickets_of
from exeunt.replay.tables import cells, rich_table
from tests.replay import replay_bag


@given(st.integers(1, 400), st.integers(1, 40), st.integers(2, 5), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_feedback_is_never_later_than_told_and_every_vote_has_a_moment_of_its_own(
    rows: int, late_rows: int, exits: int, seed: int
) -> None:
    flat = np.zeros((rows, exits))
    stream = made_stream("s", flat, flat, np.zeros(rows), late_rows=late_rows, seed=seed)
    tickets = tickets_of(stream)
    decided = 0
    first_row = {}
    assert np.array_equal(np.sort(np.concatenate(list(tickets.values()))), np.arange(rows))
    for event in completed_exits(stream):
        if event.exit == 0:
            first_row[event.ticket] = decided
            decided += len(tickets[event.ticket])
        if event.exit == exits - 1:
            assert decided - first_row[event.ticket] <= late_rows
    moments = [event.moment for event in completed_exits(stream)]
    assert sorted(set(moments)) == moments


def test_an_exit_is_complete_before_the_next_one_of_its_ticket() -> None:
    flat = np.zeros((200, 4))
    stream = made_stream("s", flat, flat, np.zeros(200))
    assert (np.diff(stream.rows.order, axis=1) > 0).all()


def test_the_six_shapes_have_the_rows_and_classes_they_name() -> None:
    table = {scenario.name: scenario for scenario in scenarios(6000, classes=10, hard_class=8, seed=3)}
    assert len(table) == 6
    assert [name for name, item in table.items() if not item.drifts] == ["stable"]
    assert all(len(item.level) == len(item.classes) == 6000 for item in table.values())
    assert all(item.level.min() >= 0 and item.level.max() <= 1 for item in table.values())
    by_class = table["sorted by class"].classes
    assert (np.diff(by_class) >= 0).all() and set(by_class.tolist()) == set(range(10))
    assert set(table["bursts of a hard class"].classes.tolist()) == {ANY, 8}


def test_made_streams_are_kept_as_records_and_come_back_the_same(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    bag = replay_bag.manifest()
    bag_votes = replay_bag.votes_of(bag, 120, seed=4)
    material = Material("test", tmp_path, bag, replay_bag.feedback_of(bag, bag_votes), lambda *_: np.zeros(0))
    stream = replay_bag.stream_of(bag, bag_votes)
    shape = Scenario("stable", False, np.zeros(120), np.full(120, ANY))

    write_stream(stream, bag, records_folder(material, shape, 0))
    read_back = stream_of(material, shape, 0, pytest.fail)
    for field in dataclasses.fields(Feedback):
        if field.name not in ("exit", "reason"):
            np.testing.assert_array_equal(getattr(read_back.rows, field.name), getattr(stream.rows, field.name))
    np.testing.assert_array_equal(read_back.certain, stream.certain)
    assert not read_back.recorded


def test_certain_rows_keep_their_label_to_the_end() -> None:
    bag = replay_bag.manifest()
    bag_votes = replay_bag.votes_of(bag, 2000, seed=5)
    feedback = replay_bag.feedback_of(bag, bag_votes)
    certain = certain_from(bag, bag_votes)
    early = np.flatnonzero(certain < len(bag.exits) - 1)
    assert len(early) > 100
    np.testing.assert_array_equal(feedback.labels[early, certain[early]], feedback.full[early])


def test_fixed_thresholds_at_once_or_row_by_row_are_the_same_run() -> None:
    options = {"thresholds": [0.3, 0.2, 0.1]}
    bag = replay_bag.manifest(tuner="static", tuner_options=options, shadow_share=0.0, max_loss=0.03)
    stream = replay_bag.stream_of(bag, replay_bag.votes_of(bag, 800, seed=6))
    slow = replay(stream, replay_bag.tuner_of(bag), bag.costs(), bag.settings)
    fixed = Fixed(np.array([0.3, 0.2, 0.1, 0.0]), np.ones(4, dtype=bool), True)
    fast = answer_fixed(stream, fixed, bag.costs(), lossless=True)
    np.testing.assert_array_equal(fast.exit, slow.exit)
    np.testing.assert_array_equal(fast.reason, slow.reason)
    np.testing.assert_array_equal(fast.latency_us, slow.latency_us)


def result(policy: str, latency: float, loss: float, worst: float = 0.01, violations: int = 0) -> ReplayResult:
    return ReplayResult(
        stream="s",
        policy=policy,
        max_loss=0.01,
        rows=1000,
        mean_latency=latency,
        median_latency=latency,
        loss=loss,
        worst_window=worst,
        expected_loss=loss,
        excess_rows=20.0 if violations else 0.0,
        violations=violations,
        answers=[0.5, 0.5],
        early=0.5,
        lossless=0.0,
        most_unconfirmed_rows=16,
        serving_us_per_row=5.0,
        tuning_ms_per_job=1.0,
        jobs=3,
        metrics={},
    )


def judged(scenario: str, drifts: bool, budget: ReplayResult) -> ComparedStream:
    return ComparedStream("digits", scenario, drifts, 0, {"budget": budget, BEST_FIXED: result(BEST_FIXED, 0.4, 0.01)})


def test_targets_are_met_or_not_as_measured() -> None:
    good = judged("stable", False, result("budget", 0.41, 0.009))
    slow = judged("cyclic", True, result("budget", 0.43, 0.009))
    wild = judged("cyclic", True, result("budget", 0.41, 0.02, worst=0.03, violations=5))
    assert [target.met for target in targets([good, slow])] == [True, True, True, False]
    assert [target.met for target in targets([good, wild])] == [False, False, True, True]


def test_a_run_that_passed_its_promise_is_marked() -> None:
    within_promise, over_promise = result("static", 0.4, 0.005), result("static", 0.3, 0.04, violations=9)
    assert cells(within_promise)[5] == "kept"
    assert cells(over_promise)[5] == "passed by 4"
    plan = ComparisonPlan(("digits",), 1000, 1, 0.01, Path())
    text = _data_section(
        plan, "digits", [ComparedStream("digits", "stable", False, 0, {"static": over_promise})], np.ones(2)
    )
    assert "**0.300 / 4.00 % / 1.0 %**" in text


def test_the_mark_of_a_loss_goes_by_the_promise_of_its_own_class() -> None:
    gold = dataclasses.replace(result("static [gold]", 0.4, 0.005), max_loss=0.001)
    assert [cells(item)[3] for item in (result("static", 0.4, 0.005), gold)] == ["0.50 %", "0.50 % !"]


def test_the_name_of_a_class_is_printed_and_not_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console = pytest.importorskip("rich.console").Console(width=130)
    console.print(rich_table([result("static [gold]", 0.4, 0.005)], "bag [red]"))
    out = capsys.readouterr().out
    assert "static [gold]" in out and "bag [red]" in out


def test_tables_and_averages_are_made_from_any_result() -> None:
    pytest.importorskip("rich")
    items = [judged("stable", False, result("budget", 0.4, 0.01)), judged("stable", False, result("budget", 0.5, 0.01))]
    averaged = _by_scenario(items)["stable"]
    assert averaged[0].mean_latency == pytest.approx(0.45)
    assert rich_table(averaged, "stable").row_count == 2


def test_rows_outside_the_promise_are_not_judged() -> None:
    bag = replay_bag.manifest(tuner="static", tuner_options={"thresholds": [1.0]}, shadow_share=0.0, lossless=False)
    stream = replay_bag.stream_of(bag, replay_bag.votes_of(bag, 100, seed=7))
    never = replay_bag.with_rows(stream, dataclasses.replace(stream.rows, never=np.arange(100) < 60))
    run = replay(never, replay_bag.tuner_of(bag), bag.costs(), bag.settings)
    assert set(run.exit[:60].tolist()) == {3}
    assert result_of(never, run, bag.costs(), 0.01).rows == 40


def test_a_recorded_stream_knows_what_was_forced_and_what_was_certain() -> None:
    from exeunt.records.record import About, Record

    bag = replay_bag.manifest()
    rows = replay_bag.feedback_of(bag, replay_bag.votes_of(bag, 4, seed=8))
    rows = dataclasses.replace(
        rows, reason=np.array([0, 1, 2, 3], dtype=np.int8), exit=np.array([3, 0, 2, 1], dtype=np.int32)
    )
    nothing = np.zeros(4, dtype=np.int64)
    events = ((9, "expired", [3, [0]]),)
    stream = recorded_stream(Record(About.of(bag), DecidedRows.of(rows), nothing, nothing, nothing, events), "r")
    assert stream.certain.tolist() == [3, 3, 2, 3]
    assert stream.events == events


def test_budget_stands_beside_the_loss_that_hill_climb_really_had() -> None:
    one = judged("stable", False, result("budget", 0.45, 0.009))
    one.results[PAPER] = result(PAPER, 0.5, 0.0142)
    assert against_hill_climb([one]) == [["digits stable", "0.900x", "0.90 %", "1.42 %"]]
