"""Replay against the Controller: the same rows, the same tuner, the same answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exeunt.contract import Reason
from exeunt.deciding.request import ParsedOptions
from exeunt.records.feedback import Feedback
from exeunt.records.parquet import FeedbackLog
from exeunt.records.record import About, read_record
from exeunt.replay.replay import replay
from exeunt.replay.run import ReplayRun
from exeunt.replay.stream import VoteStream, recorded_stream, tickets_of
from exeunt.tuning.registry import TUNERS
from tests.replay.replay_bag import Live, by_row, manifest, stream_of, tuner_of, votes_of, with_rows

ROWS = 1500
SAME = ("exit", "reason", "tuner_version")


def assert_same_answers(stream: VoteStream, run: ReplayRun, learnt: Feedback) -> None:
    np.testing.assert_array_equal(run.exit, by_row(stream, learnt, "exit"))
    np.testing.assert_array_equal(run.reason, by_row(stream, learnt, "reason"))
    np.testing.assert_array_equal(run.version, by_row(stream, learnt, "tuner_version"))


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("tuner", sorted(TUNERS))
def test_replay_answers_as_the_controller_does(tuner: str, lossless: bool) -> None:
    bag = manifest(tuner=tuner, lossless=lossless, shadow_share=0.1, max_loss=0.03)
    bag_votes = votes_of(bag, ROWS, seed=1)
    stream = stream_of(bag, bag_votes)
    live = Live(bag, tuner_of(bag))
    live.serve(stream, bag_votes)
    run = replay(stream, tuner_of(bag), bag.costs(), bag.settings, retune_lag_rows=0)
    assert_same_answers(stream, run, live.learnt)
    assert len(set(run.exit.tolist())) > 1


def test_replay_respects_wishes_as_the_controller_does() -> None:
    bag = manifest(tuner="static", lossless=True, shadow_share=0.0, max_loss=0.05)
    bag_votes = votes_of(bag, ROWS, seed=2)
    stream = stream_of(bag, bag_votes)
    live = Live(bag, tuner_of(bag))
    kinds = [ParsedOptions(), ParsedOptions(never=True), ParsedOptions(max_risk=0.1)]
    live.serve(stream, bag_votes, lambda ticket: kinds[ticket % 3])
    wished = {item: by_row(stream, live.learnt, item) for item in ("never", "max_risk")}
    run = replay(
        with_rows(stream, dataclasses.replace(stream.rows, **wished)),
        tuner_of(bag),
        bag.costs(),
        bag.settings,
        retune_lag_rows=0,
    )
    assert_same_answers(stream, run, live.learnt)


def recorded(folder: Path, seed: int, **settings: Any) -> tuple[VoteStream, Feedback]:
    """A record of a Controller whose tuner's jobs take a random while."""
    bag = manifest(**settings)
    bag_votes = votes_of(bag, ROWS, seed)
    rng = np.random.default_rng(seed)
    live = Live(bag, tuner_of(bag), lag_events=lambda: int(rng.integers(0, 40)), seed=seed)
    log = FeedbackLog(folder, About.of(bag))
    live.controller.decisions.on_over.append(log.add)
    live.serve(stream_of(bag, bag_votes, seed), bag_votes)
    log.close()
    return recorded_stream(read_record(folder), "recorded"), live.learnt


@pytest.mark.parametrize("tuner", sorted(TUNERS))
def test_a_record_replayed_with_its_own_tuner_gives_the_answers_it_holds(tmp_path: Path, tuner: str) -> None:
    pytest.importorskip("pyarrow")
    table: dict[str, Any] = {"tuner": tuner, "lossless": True, "shadow_share": 0.1, "max_loss": 0.03}
    stream, learnt = recorded(tmp_path, 3, **table)
    bag = manifest(**table)
    run = replay(stream, tuner_of(bag), bag.costs(), bag.settings)
    np.testing.assert_array_equal(run.exit, learnt.exit)
    np.testing.assert_array_equal(run.reason, learnt.reason)
    np.testing.assert_array_equal(run.version, learnt.tuner_version)


def test_another_tuner_sees_only_the_exits_that_were_offered(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    stream, learnt = recorded(tmp_path, 4, tuner="static", shadow_share=0.0, max_loss=0.03)
    hidden = dataclasses.replace(stream.rows, order=learnt.order.copy())
    hidden.order[:, 0] = -1
    stream = with_rows(stream, hidden)
    bag = manifest(tuner="patience", tuner_options={"patience": 1}, lossless=False)
    run = replay(stream, tuner_of(bag), bag.costs(), bag.settings)
    assert set(run.exit.tolist()) == {1}


def test_forced_answers_stay_forced_and_outside_the_promise() -> None:
    bag = manifest(tuner="static", tuner_options={"thresholds": [0.0]}, lossless=False, shadow_share=0.0)
    stream = stream_of(bag, votes_of(bag, 40, seed=5))
    events = [
        (int(stream.rows.order[rows[0], 1]), "expired", [ticket, [*range(len(rows))]])
        for ticket, rows in tickets_of(stream).items()
    ]
    stream = dataclasses.replace(stream, events=tuple(events))
    run = replay(stream, tuner_of(bag), bag.costs(), bag.settings)
    assert set(run.exit.tolist()) == {1}
    assert set(run.reason.tolist()) == {Reason.DEADLINE}
