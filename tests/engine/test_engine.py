"""The engine with real threads and real onnxruntime sessions, under the real controller and host."""

import dataclasses
import os
import threading

import numpy as np
import onnxruntime
import pytest

from exeunt.contract import Reason, features_name, votes_name
from exeunt.cores import home_cores
from exeunt.deciding.admission import FEW
from exeunt.deciding.request import Request
from exeunt.engine.engine import Engine
from exeunt.engine.segments import Segments
from exeunt.engine.sessions import Session
from exeunt.errors import ConfigError, ServingError
from tests.engine.desk import Desk
from tests.engine.nets import CLASSES, WIDTH, written

EXITS = ((1, 1, 0), (2, 2, 1), (2, 3, 2))
OFF = [0.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bag")


@pytest.fixture(scope="module")
def bag(folder):
    return written(folder, EXITS)


def rows(count, seed):
    return np.random.default_rng(seed).standard_normal((count, WIDTH)).astype(np.float32)


def session(folder, model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(folder / f"{model}.onnx"), options, providers=["CPUExecutionProvider"])


def offline(bag, folder, x):
    """Votes at every exit, computed segment by segment without the engine; list of float32 [rows, classes]."""
    table = {}
    for member in bag.members:
        tensors = {"x": x}
        for depth, segment in enumerate(member.segments, 1):
            of = session(folder, segment.model)
            names = [output.name for output in of.get_outputs()]
            tensors |= dict(
                zip(names, of.run(None, {segment.inputs[0].name: tensors[segment.inputs[0].name]}), strict=True)
            )
            table[member.name, depth] = tensors["PROBABILITIES" if depth == member.depth else "FEATURES"]
    votes = []
    for exit_ in bag.exits:
        voting = [(m, d) for m, d in zip(bag.members, exit_.depths, strict=True) if d]
        if exit_.heads:
            of = session(folder, exit_.heads)
            fields_ = {features_name(m.name, d): table[m.name, d] for m, d in voting if d < m.depth}
            heads = dict(zip([output.name for output in of.get_outputs()], of.run(None, fields_), strict=True))
        mean = sum(m.weight * (table[m.name, d] if d == m.depth else heads[votes_name(m.name, d)]) for m, d in voting)
        votes.append(mean / sum(m.weight for m, _ in voting))
    return votes


def test_with_all_exits_off_the_answer_is_the_full_vote(bag, folder):
    with Desk(bag, folder, OFF) as desk:
        x = rows(5, 1)
        desk.ask("a", x)
        answer = desk.answers(1)["a"].answer
    np.testing.assert_allclose(answer.probabilities, offline(bag, folder, x)[-1], rtol=1e-4, atol=1e-5)
    assert (answer.reason == Reason.FULL).all()


def test_answers_equal_the_chain_computed_offline_in_any_merge(bag, folder):
    with Desk(bag, folder, [0.5, 0.5, 0.0]) as desk:
        table = {key: rows(1 + key % 4, key) for key in range(120)}
        for key, x in table.items():
            desk.ask(key, x)
        replies = desk.answers(len(table))
        merged = desk.engine.metrics()["merged_runs_total"]
    exits = set()
    for key, x in table.items():
        answer, votes = replies[key].answer, offline(bag, folder, x)
        for row, exit_ in enumerate(answer.exit):
            np.testing.assert_allclose(answer.probabilities[row], votes[exit_][row], rtol=1e-4, atol=1e-5)
            exits.add(int(exit_))
    assert exits == {0, 1, 2} and merged > 0


def test_lanes_with_sessions_of_their_own_answer_the_same(bag, folder):
    not_cpu_alone = "AzureExecutionProvider, CPUExecutionProvider"  # what every onnxruntime has; as with a GPU
    with Desk(bag, folder, OFF, workers=3, providers=not_cpu_alone) as desk:
        table = {key: rows(2, key) for key in range(60)}
        for key, x in table.items():
            desk.ask(key, x)
        replies = desk.answers(len(table))
    for key, x in table.items():
        votes = offline(bag, folder, x)
        np.testing.assert_allclose(replies[key].answer.probabilities, votes[-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("providers", "workers"), [("CPUExecutionProvider", 1), ("CUDAExecutionProvider", 3)])
def test_each_lane_of_a_gpu_has_sessions_of_its_own(folder, bag, monkeypatch, providers, workers):
    session_providers = []
    real = onnxruntime.InferenceSession

    def recorded(path, options, providers):
        session_providers.append(providers[0])
        return real(path, options, providers=["CPUExecutionProvider"])  # no GPU here: only who is asked for what

    monkeypatch.setattr(onnxruntime, "InferenceSession", recorded)
    Session(folder / f"{bag.members[0].segments[0].model}.onnx", 1, [providers, "CPUExecutionProvider"], streams=3)
    assert len(session_providers) == workers
    assert {item if isinstance(item, str) else item[0] for item in session_providers} == {providers}


def test_sampled_feedback_and_compaction_change_no_answer(bag, folder):
    settings = dataclasses.replace(bag.settings, feedback=0.3)
    with Desk(dataclasses.replace(bag, settings=settings), folder, [0.5, 0.5, 0.0]) as desk:
        table = {key: rows(8, key) for key in range(40)}
        for key, x in table.items():
            desk.ask(key, x)
        replies = desk.answers(len(table))
        desk.host.drain(10)
        left_out = desk.engine.metrics()["left_out_rows_total"]
    for key, x in table.items():
        votes = np.stack(offline(bag, folder, x))
        answer = replies[key].answer
        np.testing.assert_allclose(answer.probabilities, votes[answer.exit, np.arange(8)], rtol=1e-4, atol=1e-5)
    assert left_out > 0
    full = {int(batch.full[row]) for batch in desk.tuner.learnt for row in range(len(batch))}
    assert full <= set(range(CLASSES))


def test_every_row_chosen_to_finish_is_learnt_from(bag, folder):
    with Desk(bag, folder, [2.0, 0.0, 0.0]) as desk:
        for key in range(60):
            desk.ask(key, rows(3, key))
        desk.answers(60)
        assert desk.host.drain(20)
    finishing_rows = sum(int(batch.finishes.sum()) for batch in desk.tuner.answered_batches)
    left_out = sum(int((~batch.finishes).sum()) for batch in desk.tuner.tossed_batches)
    assert 0 < finishing_rows - left_out == sum(len(batch) for batch in desk.tuner.learnt)


def test_a_large_batch_is_split_over_idle_lanes_and_put_together_again(tmp_path):
    folder = tmp_path
    bag = written(folder, ((1,),), seed=3)
    slow = dataclasses.replace(bag.members[0].segments[0], cost_us={1: 1000.0, 16: 16000.0})
    bag = dataclasses.replace(bag, members=(dataclasses.replace(bag.members[0], segments=(slow,)),))
    with Desk(bag, folder, [0.0], workers=3) as desk:
        x = rows(16, 4)
        while desk.engine.metrics()["idle_workers"] != 3:
            pass
        desk.ask("a", x)
        answer = desk.answers(1)["a"].answer
        split = desk.engine.metrics()["split_pieces_total"]
    np.testing.assert_allclose(answer.probabilities, offline(bag, folder, x)[-1], rtol=1e-4, atol=1e-5)
    assert split > 0


def test_a_failing_segment_names_its_model_and_the_engine_goes_on(bag, folder):
    with Desk(bag, folder, OFF) as desk:
        desk.ask("bad", np.zeros((2, WIDTH + 1), dtype=np.float32))
        desk.ask("good", rows(2, 1))
        replies = desk.answers(2)
    assert isinstance(replies["bad"].error, ServingError) and "bag_m" in str(replies["bad"].error)
    assert replies["good"].answer is not None


def test_one_bad_ticket_in_a_merged_run_fails_alone(bag, folder):
    with Desk(bag, folder, OFF, workers=1) as desk:
        for key in range(40):
            desk.ask(key, np.zeros((1, WIDTH + (key % 10 == 3)), dtype=np.float32))
        replies = desk.answers(40)
    assert {key for key, reply in replies.items() if reply.error is not None} == {3, 13, 23, 33}


def test_a_missing_file_is_named(bag, tmp_path):
    with pytest.raises(ConfigError, match=r"bag_m0_s1\.onnx: no such file"):
        Engine(bag, tmp_path)


def test_a_file_that_is_no_model_is_named(bag, folder, tmp_path):
    for path in folder.glob("*.onnx"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "bag_m1_s2.onnx").write_bytes(b"no model")
    with pytest.raises(ServingError, match="model bag_m1_s2"):
        Engine(bag, tmp_path)


def test_a_provider_that_is_not_built_in_is_refused(bag, folder):
    with pytest.raises(ConfigError, match="providers: 'NoSuchProvider'"):
        Desk(bag, folder, OFF, providers="NoSuchProvider")


def test_tensors_that_differ_from_the_manifest_are_named(bag, folder):
    segment = dataclasses.replace(bag.members[0].segments[0], features=dataclasses.replace(bag.inputs[0], name="NONE"))
    member = dataclasses.replace(bag.members[0], segments=(segment, *bag.members[0].segments[1:]))
    with pytest.raises(ConfigError, match=r"bag_m0_s1\.onnx: tensors NONE"):
        Engine(dataclasses.replace(bag, members=(member, *bag.members[1:])), folder)


def test_close_ends_every_worker(bag, folder):
    with Desk(bag, folder, OFF) as desk:
        workers = list(desk.engine._threads)
        assert len(workers) == 2 and all(worker.is_alive() for worker in workers)
    assert not any(worker.is_alive() for worker in workers)


def test_workers_wait_at_home_and_run_anywhere(bag, folder, monkeypatch):
    waited_at, ran_on, both_wait = {}, [], threading.Barrier(3)
    real_next, real_run = Engine._next, Segments.run

    def next_run(engine, *, waits):
        if not waits:
            return real_next(engine, waits=False)
        name = threading.current_thread().name
        if name not in waited_at:
            waited_at[name] = os.sched_getaffinity(0)
            both_wait.wait(60)
        return real_next(engine, waits=True)

    def run(segments, run):
        ran_on.append(os.sched_getaffinity(0))
        return real_run(segments, run)

    monkeypatch.setattr(Engine, "_next", next_run)
    monkeypatch.setattr(Segments, "run", run)
    with Desk(bag, folder, OFF) as desk:
        both_wait.wait(60)
        desk.ask("one", rows(1, 1))
        desk.answers(1)
    assert waited_at == {f"exeunt-worker-{number}": home_cores(number, 2) for number in range(2)}
    assert ran_on and all(cores == os.sched_getaffinity(0) for cores in ran_on)


def test_a_worker_whose_home_was_taken_away_goes_on(bag, folder, monkeypatch):
    monkeypatch.setattr("exeunt.engine.engine.home_cores", lambda number, workers: {100_000})  # no host has so many
    with Desk(bag, folder, OFF) as desk:
        desk.ask("one", rows(1, 1))
        assert desk.answers(1)["one"].answer is not None
        assert desk.engine.metrics()["faults_total"] == 0


def test_a_fault_of_the_scheduler_fails_its_tickets_and_the_workers_go_on(bag, folder, monkeypatch):
    with Desk(bag, folder, OFF, workers=1) as desk:
        scheduler = desk.engine._scheduler

        def fail(idle_workers):
            raise KeyError("a piece that is not there")

        monkeypatch.setattr(scheduler, "next_run", fail)
        desk.ask("unlucky", rows(3, 1))
        assert isinstance(desk.answers(1)["unlucky"].error, ServingError)
        desk.ask("lucky", rows(3, 2))
        assert desk.answers(2)["lucky"].answer is not None
        assert desk.engine.metrics()["faults_total"] == 1


@pytest.mark.parametrize("count", [1, 3])
def test_a_plain_answer_is_bit_for_bit_the_full_vote_of_a_ticket_that_was_asked_for_every_exit(tmp_path, count):
    x = rows(count, seed=5)
    answers = []
    for gear in ("exits", "plain"):
        bag = written(tmp_path, ((1, 1), (2, 1), (3, 2)), gear=gear)
        with Desk(bag, tmp_path, OFF) as desk:
            desk.ask("a", x)
            answers.append(desk.answers(1)["a"].answer)
            assert desk.controller.counters.plain_tickets == (gear == "plain")
    np.testing.assert_array_equal(answers[0].probabilities, answers[1].probabilities)


@pytest.fixture
def plain_desk(tmp_path, monkeypatch):
    """A bag in the plain gear; nobody runs anything but the thread that begins."""
    monkeypatch.setattr(Engine, "_serve", lambda engine, home: None)
    with Desk(written(tmp_path, ((1, 1), (2, 1), (3, 2)), gear="plain"), tmp_path, OFF) as desk:
        yield desk


def test_what_is_gathered_waits_for_those_it_shares_its_ticket_with(plain_desk):
    for key in range(3):
        plain_desk.host.submit(Request(key, 1), {"x": rows(1, key)}, gathers=True)
    assert plain_desk.controller.waiting_rows == 3
    plain_desk.host.begin(at_once=True)
    assert plain_desk.controller.counters.tickets == 1


def test_few_short_plain_tickets_are_answered_by_the_thread_that_begins_them(plain_desk):
    for key in range(3):
        plain_desk.host.submit(Request(key, 1), {"x": rows(1, key)}, gathers=True)
    plain_desk.host.begin(at_once=True)
    assert sorted(plain_desk.replies) == [0, 1, 2]
    assert plain_desk.engine.metrics()["work_us_total"] > 0


def trips_whole(monkeypatch):
    """Whoever runs whole members fails on inputs above 100."""
    right = Segments.full_votes

    def trips(segments, inputs):
        if (inputs["x"] > 100).any():
            raise ServingError("tripped")
        return right(segments, inputs)

    monkeypatch.setattr(Segments, "full_votes", trips)


def test_a_request_that_fails_takes_none_of_those_with_it_that_share_its_ticket(plain_desk, monkeypatch):
    trips_whole(monkeypatch)
    for key in range(3):
        plain_desk.host.submit(Request(key, 1), {"x": rows(1, key) + 1000 * (key == 1)}, gathers=True)
    plain_desk.host.begin(at_once=True)
    assert [plain_desk.replies[key].error is None for key in range(3)] == [True, False, True]
    assert plain_desk.controller.idle


def test_what_is_more_than_a_few_short_tickets_is_left_to_the_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(Engine, "run_at_once", lambda engine, ticket, inputs: pytest.fail("run in the calling thread"))
    bag = written(tmp_path, ((1, 1), (2, 1), (3, 2)), gear="plain")
    with Desk(bag, tmp_path, OFF) as desk:
        requests = FEW * desk.engine.plain_tickets.most_rows // bag.max_batch_size + 1
        for key in range(requests):
            desk.host.submit(Request(key, bag.max_batch_size), {"x": rows(bag.max_batch_size, key)}, gathers=True)
        desk.host.begin(at_once=True)
        assert all(release.error is None for release in desk.answers(requests).values())


def test_a_bad_request_in_a_ticket_of_several_that_workers_run_fails_alone(tmp_path, monkeypatch):
    right = Segments.run

    def trips(segments, run):
        if any((piece.progress.inputs["x"] > 100).any() for piece in run.pieces):
            raise ServingError("tripped")
        right(segments, run)

    monkeypatch.setattr(Segments, "run", trips)
    trips_whole(monkeypatch)
    bag = written(tmp_path, ((1, 1), (2, 1), (3, 2)), gear="plain")
    with Desk(bag, tmp_path, OFF) as desk:
        for key in range(3):
            desk.host.submit(Request(key, 1), {"x": rows(1, key) + 1000 * (key == 1)}, gathers=True)
        desk.host.begin()
        replies = desk.answers(3)
    assert [replies[key].error is None for key in range(3)] == [True, False, True]


def served_with(bag, folder, feedback):
    """160 rows, all of which leave at the first exit; the desk, after everything has ended."""
    settings = dataclasses.replace(bag.settings, feedback=feedback)
    with Desk(dataclasses.replace(bag, settings=settings), folder, [2.0, 0.0, 0.0]) as desk:
        for key in range(20):
            desk.ask(key, rows(8, key))
        desk.answers(20)
        assert desk.host.drain(20)
    return desk


def test_with_little_feedback_answered_rows_do_not_run_on(bag, folder):
    desk = served_with(bag, folder, feedback=0.1)
    learnt = sum(len(batch) for batch in desk.tuner.learnt)
    assert 0 < learnt < 0.3 * 160 and desk.engine.metrics()["left_out_rows_total"] > 0


def test_rows_are_tossed_once_each_and_with_the_probability_that_was_asked_for(bag, folder):
    desk = served_with(bag, folder, feedback=0.5)
    tossed = sum(len(batch.q) for batch in desk.tuner.tossed_batches)
    # what was running on already as its rows were answered ends without a toss, and counts as certain
    ran_on = sum(int((batch.q == 1.0).sum()) for batch in desk.tuner.learnt)
    assert tossed + ran_on == 160 and tossed > 0
    assert all((batch.q <= 0.5).all() for batch in desk.tuner.tossed_batches)
