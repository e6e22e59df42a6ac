"""Whatever happened to a live controller, its record replayed gives every decision again, in both modes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exeunt.contract import Reason
from exeunt.deciding.controller import Controller
from exeunt.deciding.counters import Counters
from exeunt.deciding.heads import Heads
from exeunt.deciding.request import ParsedOptions, Request
from exeunt.deciding.ticket import Ticket
from exeunt.engine.sampling import FinishProbability
from exeunt.errors import ServingError
from exeunt.manifest import Manifest
from exeunt.records.decided import DecidedRows
from exeunt.records.feedback import Feedback
from exeunt.records.parquet import FeedbackLog
from exeunt.records.record import About, read_record
from exeunt.replay.replay import replay
from exeunt.replay.stream import VoteStream, recorded_stream
from exeunt.tuning.error_budget.budget_tuner import BudgetTuner
from exeunt.tuning.tuner import Tuner
from tests.engine.simulate import Simulation
from tests.replay.replay_bag import Votes, feedback_of, manifest, tuner_of, votes_of

pytest.importorskip("pyarrow")
TUNERS = ("budget", "hill_climb", "static")
SETTINGS: dict[str, Any] = {
    "lossless": True,
    "shadow_share": 0.1,
    "max_loss": 0.1,
    "service_classes": {"gold": 0.02, "bulk": 0.3},
    "max_unconfirmed_rows": 64,
}


def options_of(rng: np.random.Generator, longest_us: int) -> ParsedOptions:
    never = bool(rng.random() < 0.1)
    deadline_us = int(rng.integers(1, longest_us)) if rng.random() < 0.2 else None
    return ParsedOptions(
        never=never,
        deadline_us=deadline_us,
        hurries=deadline_us is not None,
        max_risk=float(rng.choice([np.inf, np.inf, 0.1, 0.02])),
        service_class=int(rng.integers(0, 3)),
    )


def request_of(key: int, rng: np.random.Generator, longest_us: int) -> Request:
    rows = int(rng.integers(1, 6))
    nan_rows = rng.random(rows) < 0.3 if rng.random() < 0.1 else None
    return Request(key, rows, options_of(rng, longest_us), nan_rows)


def with_nans(votes: Votes, rng: np.random.Generator) -> Votes:
    """Votes in which a member now and then fails on a row, from some depth on."""
    for (member, _), array in votes.items():
        if rng.random() < 0.05:
            array[int(rng.integers(len(array)))] = np.nan if member else np.inf
    return votes


class Recorded:
    """A controller with a record; `again` replays it."""

    def __init__(self, folder: Path, bag: Manifest) -> None:
        self.bag = bag
        self.tuner = tuner_of(bag)
        self.controller = Controller(bag, self.tuner, np.random.default_rng(5))
        self.decided: list[DecidedRows] = []
        self._folder = folder
        self._log = FeedbackLog(folder, About.of(bag))
        self.controller.decisions.on_over.append(self._log.add)
        self.controller.decisions.on_over.append(lambda decided, events: self.decided.append(decided))

    def again(self) -> tuple[VoteStream, Tuner]:
        """The stream that was recorded, and the tuner that replayed it; every decision must be the same."""
        self._log.close()
        stream = recorded_stream(read_record(self._folder), "recorded")
        tuner = tuner_of(self.bag)
        run = replay(stream, tuner, self.bag.costs(), self.bag.settings)
        live = DecidedRows.joined(self.decided)
        np.testing.assert_array_equal(run.exit, live.rows.exit)
        np.testing.assert_array_equal(run.reason, live.rows.reason)
        np.testing.assert_array_equal(run.version, live.rows.tuner_version)
        np.testing.assert_array_equal(run.decided, live.decided)
        np.testing.assert_array_equal(run.risk, live.risk)
        assert tuner.metrics() == self.tuner.metrics()
        return stream, tuner


class EnsembleLife:
    """Taps in any order, deadlines, failures of some rows, and an operator who changes his mind."""

    def __init__(self, recorded: Recorded, seed: int) -> None:
        self.controller = recorded.controller
        self.bag = recorded.bag
        self.rng = np.random.default_rng(seed)
        self.pending: dict[int, tuple[Votes, list[int]]] = {}
        self.outcome: Any = None

    def live(self, steps: int) -> None:
        for now_us in range(steps):
            self.controller.offer(request_of(now_us, self.rng, 30), now_us)
            if self.rng.random() < 0.6:
                self.admit()
            self.controller.tick(now_us)
            for id_ in [*self.pending]:
                self.go_on(id_, now_us)
            self.tune()
            self.operate()
        self.controller.offer(Request("left behind", 1), steps)
        self.admit()
        self.controller.give_up(steps)

    def admit(self) -> None:
        if (ticket := self.controller.next_ticket()) is not None:
            votes = with_nans(votes_of(self.bag, ticket.rows, int(self.rng.integers(2**31))), self.rng)
            self.pending[ticket.id] = votes, self.rng.permutation(np.flatnonzero(ticket.requested_exits)).tolist()

    def go_on(self, id_: int, now_us: int) -> None:
        if id_ not in self.controller.tickets:
            del self.pending[id_]
        elif self.rng.random() < 0.05:
            requests = self.controller.tickets[id_].requests
            failing = requests[int(self.rng.integers(len(requests)))]
            rows = failing.row_indices
            self.controller.failed(id_, ServingError("x"), now_us, rows if self.rng.random() < 0.7 else None)
        elif self.rng.random() < 0.7:
            votes, exits = self.pending[id_]
            depths = self.bag.exits[exits.pop()].depths
            self.controller.arrived(id_, {(m, d): votes[m, d] for m, d in enumerate(depths) if d}, now_us)

    def tune(self) -> None:
        if self.outcome is not None and self.rng.random() < 0.2:
            self.controller.decisions.changes.adopt(self.outcome)
            self.outcome = None
        elif self.outcome is None and (job := self.controller.decisions.changes.retune()) is not None:
            self.outcome = job()

    def operate(self) -> None:
        if self.rng.random() < 0.01:
            self.controller.decisions.changes.set_finish_probability(float(self.rng.choice([1.0, 0.5, 0.25])))
        if self.rng.random() < 0.01:
            self.controller.decisions.changes.set_exits_off(self.rng.random(len(self.bag.exits)) < 0.3)
        if self.rng.random() < 0.01:
            self.controller.decisions.changes.set_class_losses((float(self.rng.choice([0.05, 0.1])), 0.02, 0.3))
        if self.rng.random() < 0.01:
            self.learn_ramps()

    def learn_ramps(self) -> None:
        decisions, exits = self.controller.decisions, len(self.bag.exits)
        rows = int(self.rng.choice([0, 5, 300]))
        feedback = (
            feedback_of(self.bag, votes_of(self.bag, rows, int(self.rng.integers(2**31)))) if rows else no_rows(exits)
        )
        changed = np.append(self.rng.random(exits - 1) < 0.5, False)
        decisions.changes.set_heads(Heads(decisions.in_use.heads.version + 1), changed, feedback)


def no_rows(exits: int) -> Feedback:
    return Feedback.observed(np.zeros((0, exits)), np.zeros((0, exits)))


def assert_same_books(counters: Counters, tuner: BudgetTuner) -> None:
    """The server's own counters of each class of service say what the tuner's accounts say."""
    for counted, account in zip(counters.by_class, tuner.budget.classes, strict=True):
        assert counted.rows == account.answered_rows > 0
        assert counted.promised_losses == pytest.approx(account.allowed)
        assert counted.losses == pytest.approx(account.losses)
        assert counted.most_unconfirmed == pytest.approx(account.most_unconfirmed)
        assert counted.unconfirmed == pytest.approx(account.unconfirmed, abs=1e-6)
        assert counted.lowest_q == pytest.approx(1.0 / account.heaviest_ever)


@pytest.mark.parametrize("on_failure", ["error", "best_vote"])
@pytest.mark.parametrize("tuner", TUNERS)
def test_a_live_run_in_ensemble_mode_is_decided_again(tmp_path: Path, tuner: str, on_failure: str) -> None:
    recorded = Recorded(tmp_path, manifest(tuner=tuner, on_failure=on_failure, **SETTINGS))
    EnsembleLife(recorded, seed=1).live(1200)
    if isinstance(recorded.tuner, BudgetTuner):
        assert_same_books(recorded.controller.counters, recorded.tuner)
        assert recorded.tuner.heads_version > 3 and not recorded.tuner.metrics()["promise_broken"]
    stream, _ = recorded.again()
    assert set(stream.rows.reason.tolist()) >= {Reason.FULL, Reason.EARLY, Reason.LOSSLESS, Reason.DEADLINE}
    assert (Reason.DEGRADED in stream.rows.reason) == (on_failure == "best_vote")
    assert {"expired", "failed", "given_up", "exits_off", "class_losses", "finish_probability", "heads"} <= {
        name for _, name, _ in stream.events
    }
    assert (~stream.decided.finishes).any() and stream.decided.non_finite.any() and (stream.rows.exit < 0).any()
    assert len(np.unique(stream.decided.heads_version)) > 3
    assert recorded.controller.counters.shadow_tickets and recorded.controller.counters.abandoned_rows


@pytest.mark.parametrize("gears", [(), ((0, 1, 3), (0, 2, 3))])
@pytest.mark.parametrize("tuner", TUNERS)
def test_a_live_run_in_engine_mode_is_decided_again(
    tmp_path: Path, tuner: str, gears: tuple[tuple[int, ...], ...]
) -> None:
    bag = dataclasses.replace(manifest(tuner=tuner, **SETTINGS | {"max_tickets": 16}), mode="engine", gears=gears)
    recorded = Recorded(tmp_path, bag)
    rng = np.random.default_rng(2)

    def votes(ticket: Ticket) -> Votes:
        job = recorded.controller.decisions.changes.retune()
        if job is not None:
            recorded.controller.decisions.changes.adopt(job())
        return with_nans(votes_of(bag, ticket.rows, ticket.id), rng)

    sampling = FinishProbability(bound=8.0, least=0.2)
    simulation = Simulation(recorded.controller, 2, votes, sampling, fails=lambda run: bool(rng.random() < 0.01))
    arrivals = np.cumsum(rng.exponential(4.0, 800))
    simulation.run([(float(at), request_of(key, rng, 40)) for key, at in enumerate(arrivals)])
    stream, _ = recorded.again()
    counters = recorded.controller.counters
    assert (0 < counters.lean_tickets < counters.tickets) == bool(gears)
    assert set(stream.rows.reason.tolist()) >= {Reason.FULL, Reason.EARLY, Reason.LOSSLESS, Reason.DEADLINE}
    assert {"expired", "failed", "finish_probability"} <= {name for _, name, _ in stream.events}
    assert (~stream.decided.finishes).any() and stream.decided.non_finite.any() and (stream.rows.exit < 0).any()


def test_two_lives_of_a_server_follow_each_other_in_one_record(tmp_path: Path) -> None:
    bag = manifest(tuner="static", **SETTINGS)
    for seed in (3, 4):
        recorded = Recorded(tmp_path, bag)
        EnsembleLife(recorded, seed).live(300)
        recorded._log.close()
    record = read_record(tmp_path)
    moments = [moment for moment, _, _ in record.events]
    assert moments == sorted(moments)
    assert len(np.unique(record.run_unix_us)) == 2
    second = record.run_unix_us == record.run_unix_us[-1]
    assert record.decided.ticket[second].min() > record.decided.ticket[~second].max()
    assert record.decided.decided[second].min() > record.decided.decided[~second].max()
