"""The host with real threads: a runner that answers from a pool stands in for Triton or the engine."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from exeunt.deciding.controller import Controller
from exeunt.deciding.request import ParsedOptions, Request
from exeunt.errors import OverloadedError, ServingError
from exeunt.hosting.host import ControllerHost
from tests.deciding.controller_bag import FixedThresholds, at_exit, manifest, votes_of


class PoolRunner:
    """Gives every row its own votes: the input's first number is the seed; exits come in order."""

    def __init__(self, bag, pause_s=0.0):
        self.bag, self.pause_s, self.pool = bag, pause_s, ThreadPoolExecutor(4)
        self.fail_with = None

    at_work = 0
    plain_tickets = None
    workers = 1

    def attach(self, host):
        self.host = host

    def start(self, ticket, inputs):
        self.pool.submit(self.run, ticket.id, inputs["x"])

    def run(self, ticket_id, x):
        row_votes = [votes_of(self.bag, 1, seed=int(row[0])) for row in x]
        votes = {pair: np.concatenate([one[pair] for one in row_votes]) for pair in row_votes[0]}
        for exit_ in range(len(self.bag.exits)):
            time.sleep(self.pause_s)
            if self.fail_with is not None and exit_ == 1:
                self.host.failed(ticket_id, self.fail_with)
                return
            self.host.arrived(ticket_id, at_exit(self.bag, exit_, votes))

    def run_at_once(self, ticket, inputs):
        raise AssertionError("it has no short tickets")

    def close(self):
        self.pool.shutdown()

    def metrics(self):
        return {}


class Desk:
    """A host and what it replied."""

    def __init__(self, thresholds, pause_s=0.0, **settings):
        self.bag = manifest(**settings)
        self.replies, self.new_reply = {}, threading.Condition()
        self.runner = PoolRunner(self.bag, pause_s)
        tuner = FixedThresholds(self.bag, thresholds)
        controller = Controller(self.bag, tuner, np.random.default_rng(0))
        self.host = ControllerHost(controller, self.runner, self.reply)
        self.host.start()

    def reply(self, release):
        with self.new_reply:
            assert release.key not in self.replies, "released twice"
            self.replies[release.key] = release
            self.new_reply.notify_all()

    def wait(self, count):
        with self.new_reply:
            assert self.new_reply.wait_for(lambda: len(self.replies) >= count, timeout=20)
        return self.replies

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.host.drain(5)
        self.host.close()


def numbered(start, rows):
    return {"x": np.arange(start, start + rows, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)}


def test_under_many_threads_every_request_gets_its_own_rows_once():
    with Desk([0.3, 0.3, 0.0]) as desk:
        sizes = np.random.default_rng(1).integers(1, 8, 200)

        def client(which):
            for number in range(which, 200, 8):
                desk.host.submit(Request(number, int(sizes[number])), numbered(100 * number, int(sizes[number])))

        threads = [threading.Thread(target=client, args=(which,)) for which in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        replies = desk.wait(200)
        for number, release in replies.items():
            for row, exit_ in enumerate(release.answer.exit):
                votes = at_exit(desk.bag, exit_, votes_of(desk.bag, 1, seed=100 * number + row))
                mean = np.mean([vote[0] for vote in votes.values()], axis=0)
                np.testing.assert_allclose(release.answer.probabilities[row], mean, rtol=1e-5)
    assert desk.host.controller.idle


def test_what_is_gathered_begins_at_once_where_tickets_are_not_short():
    with Desk([0, 0, 0]) as desk:
        for key in range(3):
            desk.host.submit(Request(key, 1), numbered(key, 1), gathers=True)
        desk.wait(3)


def test_a_deadline_is_kept_without_any_arrival():
    with Desk([0, 0, 0], pause_s=1.0) as desk:
        desk.host.submit(Request("a", 1, ParsedOptions(deadline_us=20_000, hurries=True)), numbered(0, 1))
        release = desk.wait(1)["a"]
        assert isinstance(release.error, OverloadedError) and "before any vote" in str(release.error)
        assert release.latency_us >= 20_000


def test_a_failure_is_replied_and_the_next_request_served():
    with Desk([0, 0, 0]) as desk:
        desk.runner.fail_with = ServingError("bag_m0_s2: boom")
        desk.host.submit(Request("a", 1), numbered(0, 1))
        assert "boom" in str(desk.wait(1)["a"].error)
        desk.runner.fail_with = None
        desk.host.submit(Request("b", 1), numbered(0, 1))
        assert desk.wait(2)["b"].answer is not None


def test_a_drain_finishes_what_was_accepted_and_refuses_newcomers():
    with Desk([0, 0, 0], pause_s=0.02) as desk:
        for number in range(10):
            desk.host.submit(Request(number, 1), numbered(number, 1))
        assert desk.host.drain(10)
        assert all(item.answer is not None for item in desk.wait(10).values())
        with pytest.raises(OverloadedError, match="stopping"):
            desk.host.submit(Request("late", 1), numbered(0, 1))


def test_a_drain_that_is_out_of_time_answers_unavailable():
    with Desk([0, 0, 0], pause_s=0.3) as desk:
        desk.host.submit(Request("a", 1), numbered(0, 1))
        assert not desk.host.drain(0.05)
        assert isinstance(desk.wait(1)["a"].error, OverloadedError)


def test_work_that_nobody_waits_for_any_more_keeps_its_place_until_it_ends():
    with Desk([0, 0, 0], max_tickets=2) as desk:
        desk.runner.at_work = 2  # as after two deadlines whose calls still run
        desk.host.submit(Request("a", 1), numbered(0, 1))
        assert not desk.host.controller.tickets and desk.host.controller.waiting_rows == 1
        desk.runner.at_work = 1
        desk.host.work_ended()
        assert desk.wait(1)["a"].answer is not None


def test_a_ticket_that_cannot_be_started_fails_and_frees_its_place():
    with Desk([0, 0, 0], max_tickets=1) as desk:
        start = desk.runner.start

        def refuse(ticket, inputs):
            raise ValueError("no such thread")

        desk.runner.start = refuse
        desk.host.submit(Request("a", 1), numbered(0, 1))
        assert "no such thread" in str(desk.wait(1)["a"].error)
        desk.runner.start = start
        desk.host.submit(Request("b", 1), numbered(0, 1))
        assert desk.wait(2)["b"].answer is not None


def test_one_reply_that_fails_does_not_keep_back_the_others():
    with Desk([0, 0, 0], pause_s=0.2) as desk:
        reply = desk.host._reply

        def sometimes(release):
            if release.key == "gone":
                raise OSError("the client has gone")
            reply(release)

        desk.host._reply = sometimes
        for key in ("gone", "a", "b"):
            desk.host.submit(Request(key, 1), numbered(0, 1))
        assert set(desk.wait(2)) == {"a", "b"}
    assert desk.host.guard.faults["reply"] == 1  # all threads have ended: "gone" may have come last


def test_a_tuning_job_that_fails_leaves_the_thread_alive():
    with Desk([0, 0, 0]) as desk:
        retune = desk.host.controller.decisions.changes.retune
        desk.host.controller.decisions.changes.retune = lambda: 1 / 0
        desk.host._retune_due.set()
        end = time.monotonic() + 20
        while not desk.host.guard.faults.get("tuning"):
            assert time.monotonic() < end
            time.sleep(0.01)
        desk.host.controller.decisions.changes.retune = retune
        assert all(thread.is_alive() for thread in desk.host._threads)
