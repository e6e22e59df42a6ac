"""Replicas that share a store: what they saved up and what they owe is in one place at a time, and counted once."""

from __future__ import annotations

import numpy as np
import pytest

from exeunt.contract import Reason
from exeunt.deciding.controller import Controller
from exeunt.hosting.assembly import HostedBag
from exeunt.hosting.guard import Guard
from exeunt.hosting.shared_state import BEAT_S
from exeunt.records.feedback import Feedback
from exeunt.sharing.ledger import DEAD_AFTER_S
from exeunt.tuning.registry import make_tuner
from exeunt.tuning.tuner import Setup
from tests.deciding.controller_bag import manifest
from tests.hosting.ledger_store import LedgerStore, Replica
from tests.hosting.test_host import PoolRunner


@pytest.fixture
def store():
    return LedgerStore()


@pytest.fixture
def start(store):
    """Starts a replica on a folder; all of them are gone after the test."""
    started = []

    def start_one(folder, store=store, **settings):
        started.append(Replica(store, folder, **settings))
        return started[-1]

    yield start_one
    for replica in started:
        replica.kill()


def folders(tmp_path):
    return tmp_path / "one", tmp_path / "two"


def test_what_a_replica_saved_up_is_handed_over_at_its_end_and_taken_by_a_newcomer(store, start, tmp_path):
    one, two = folders(tmp_path)
    first = start(one)
    first.earn(2.0)
    first.stop()
    assert store.ledger().savings == 2.0
    second = start(two)
    assert (second.account.reserve, store.ledger().savings) == (2.0, 0.0)
    assert second.controller.counters.by_class[0].received == 2.0


def test_what_a_replica_owes_is_handed_over_at_its_end_and_taken_by_a_newcomer(store, start, tmp_path):
    one, two = folders(tmp_path)
    first = start(one)
    first.earn(-2.0)
    first.stop()
    assert start(two).account.reserve == -2.0


@pytest.mark.parametrize("losses", [3.5, -3.5])
def test_a_restart_on_the_same_files_does_not_have_twice_what_was_handed_over(store, start, tmp_path, losses):
    first = start(tmp_path)
    first.earn(losses)
    first.stop()
    second = start(tmp_path)
    assert second.account.reserve + store.ledger().savings - store.ledger().debt == losses


@pytest.mark.parametrize("losses", [3.5, -3.5])
def test_an_end_while_the_store_is_down_leaves_everything_in_the_files(store, start, tmp_path, losses):
    first = start(tmp_path)
    first.earn(losses)
    store.down = True
    first.stop()
    second = start(tmp_path)
    assert second.account.reserve == losses
    assert "goes on with its own account" in "".join(second.lines)


def test_an_end_whose_reply_is_lost_pays_nothing_twice_and_forgets_no_debt(store, start, tmp_path):
    for losses in (2.0, -2.0):
        first = start(tmp_path)
        first.earn(losses)
        store.loses_replies_to_ends = True
        first.stop()
        store.loses_replies_to_ends = False
        second = start(tmp_path)
        assert second.account.reserve + store.ledger().savings - store.ledger().debt == losses
        second.earn(0.0)
        second.stop()


def test_a_reply_that_was_lost_is_asked_for_again_while_the_server_lives(store, start, tmp_path):
    first = start(tmp_path)
    first.earn(2.0)
    store.loses_replies_to_ends = True
    first.shared.hand_over(first.housekeeping._save)
    assert not first.shared.settled
    store.loses_replies_to_ends = False
    first.round()
    assert first.shared.settled and first.account.reserve == 0.0 and store.ledger().savings == 2.0


def test_the_debt_of_a_killed_replica_is_paid_by_its_siblings(store, start, tmp_path):
    one, two = folders(tmp_path)
    first, second = start(one), start(two)
    first.earn(-3.0)
    first.round()
    store.wait(DEAD_AFTER_S + 1)
    second.round()
    assert second.account.reserve == -3.0


@pytest.mark.parametrize("silent_s", [0.0, DEAD_AFTER_S + 1])
def test_a_killed_replica_that_starts_again_on_its_files_carries_its_own_debt_once(store, start, tmp_path, silent_s):
    first = start(tmp_path)
    first.earn(-3.0)
    first.save()
    first.round()
    first.kill()
    store.wait(silent_s)
    second = start(tmp_path)
    assert second.account.reserve == -3.0 and store.ledger().debt == 0.0


def test_debt_that_the_files_do_not_know_of_is_taken_from_the_store(store, start, tmp_path):
    first = start(tmp_path)
    first.earn(-1.0)
    first.save()
    first.earn(-3.0)
    first.round()
    first.kill()
    assert start(tmp_path).account.reserve == -3.0


def test_what_was_saved_up_is_not_in_the_files_while_it_is_handed_over(store, start, tmp_path):
    first = start(tmp_path)
    first.earn(2.0)
    store.loses_replies_to_ends = True
    first.shared.hand_over(first.housekeeping._save)
    first.housekeeping._save(clean=True)  # the next round's
    first.kill()
    assert start(tmp_path).account.reserve <= 2.0 - store.ledger().savings


def test_classes_of_service_are_handed_over_apart(store, start, tmp_path):
    one, two = folders(tmp_path)
    classes = {"service_classes": {"gold": 0.01}}
    first = start(one, **classes)
    first.controller.tuner.budget.classes[1].reserve = 1.0
    first.earn(-1.0)
    first.stop()
    second = start(two, **classes)
    assert [account.reserve for account in second.controller.tuner.budget.classes] == [-1.0, 1.0]


def learnt(rows, seed=0):
    """Feedback on which a confident first exit is always right."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.integers(0, 3, (rows, 1)), 3, axis=1)
    feedback = Feedback.observed(labels, np.full((rows, 3), 0.99))
    assert (feedback.reason == Reason.FULL).all()
    return feedback


def test_a_newcomer_knows_what_its_siblings_know_and_earns_no_reserve_by_it(store, start, tmp_path):
    one, two = folders(tmp_path)
    first = start(one)
    for seed in range(4):
        feedback = learnt(200, seed)
        with first.host.lock:
            first.controller.tuner.learn(feedback)
            for listener in first.controller.decisions.on_feedback:
                listener(feedback)
        for _ in range(3):
            first.round()
    second = start(two)
    confidence, labels = np.full(1, 0.99, dtype=np.float32), np.zeros(1, dtype=np.int32)
    alone = start(None, store=LedgerStore())
    assert second.controller.tuner.risk(0, confidence, labels) < alone.controller.tuner.risk(0, confidence, labels) / 4
    assert second.account.reserve == 0.0 and second.account.answered_rows == 0


def test_siblings_learn_from_each_other_a_few_times_a_minute(store, start, tmp_path):
    one, two = folders(tmp_path)
    first, second = start(one), start(two)
    for listener in first.controller.decisions.on_feedback:
        listener(learnt(100))
    for _ in range(4):
        first.round()
        second.round()
    assert second.shared.metrics()["rows_learnt"] == 100
    assert first.shared.metrics()["rows_learnt"] == 0  # not its own


def test_a_bad_lesson_is_left_out_and_counted(store, start, tmp_path):
    store.taught.append(("000000001", "stranger", b"garbage"))
    replica = start(tmp_path)
    assert replica.shared.metrics()["bad_lessons"] == 1
    assert replica.shared.metrics()["reachable"] == 1


def test_the_metrics_say_whether_the_store_answers(store, start, tmp_path):
    replica = start(tmp_path)
    store.down = True
    for _ in range(3):
        replica.round()
    metrics = replica.shared.metrics()
    assert metrics["reachable"] == 0 and metrics["failed_calls"] >= 1 and metrics["seconds_since_answer"] == 3 * BEAT_S
    assert sum("goes on with its own account" in line for line in replica.lines) == 1
    store.down = False
    for _ in range(8):
        replica.round()
    assert replica.shared.metrics()["reachable"] == 1
    assert any("answers again" in line for line in replica.lines)


def hosted(tuner, url):
    """Lines that a hosted bag logs from its start to its end, with no store at the address."""
    bag = manifest(tuner=tuner, state_url=url)
    setup = Setup(bag.costs(), bag.settings, learnt(50), 0)
    controller = Controller(bag, make_tuner(setup), np.random.default_rng(0))
    lines, samples = [], []
    guard = Guard(lines.append)
    HostedBag(controller, PoolRunner(bag), lambda release: None, samples.extend, lines.append, guard, {}).stop(0.0)
    assert guard.faults == {}
    return lines, {dict(sample.labels)["name"]: sample.value for sample in samples if sample.family == "exeunt_store"}


def test_a_server_starts_and_ends_where_there_is_no_store_and_says_so():
    pytest.importorskip("redis", reason="NO REDIS CLIENT, adapter not tested: pip install 'exeunt[redis]'")
    lines, numbers = hosted("budget", "redis://127.0.0.1:1")
    assert numbers["reachable"] == 0
    assert sum("the store at 127.0.0.1 does not answer" in line for line in lines) == 1


def test_a_tuner_that_has_nothing_to_share_says_so():
    lines, numbers = hosted("static", "redis://127.0.0.1:1")
    assert numbers == {} and any("'static' has nothing to share" in line for line in lines)
