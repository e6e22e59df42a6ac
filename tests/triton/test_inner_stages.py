"""Ensemble mode on the real server, with stages that end inside members: cut tensors cross from call to call."""

import json
import shutil
import threading

import numpy as np
import pytest
from tritonclient import grpc

from exeunt.contract import Reason, stage_model
from exeunt.serving.checks.repository import check_repository
from exeunt.serving.pip_server import serve
from exeunt_export.export_bag import export_bag
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag
from tests.triton.calls import NOBODY_LEAVES, ask, await_idle, controlled, manifest_of, override, vote_offline

pytestmark = pytest.mark.triton
ROWS = noise_rows(200, 7, 16)
QUESTIONS = 8  # rows that a segment asks itself on a busy machine; see exeunt.hosting.in_step
BOTH = pytest.mark.parametrize("protocol", ["http", "grpc"])


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Two members one after the other, in stages that end at every exit, of which nobody leaves early."""
    folder = tmp_path_factory.mktemp("inner")
    table = NOBODY_LEAVES + 'gear = "stages"\nfeedback = 0.1\n'
    bag = tiny_bag(folder, members=2, exit_table=table, schedule="cascade", cuts='stages = "exits"')
    export_bag(bag, folder / "repository")
    return folder / "repository"


@pytest.fixture(scope="module")
def server(triton, repository, tmp_path_factory):
    with serve(repository, state_dir=tmp_path_factory.mktemp("state")) as running:
        yield running


def leaving_at(repository, tmp_path, *exits, **parameters):
    """A copy of which everybody leaves at the first of some exits."""
    count = len(manifest_of(repository).exits) - 1
    risks = [1.0 if number in exits else 0.0 for number in range(count)]
    copy = shutil.copytree(repository, tmp_path / "repository")
    return override(copy, tuner_options=json.dumps({"thresholds": risks}), **parameters)


def rows_run(server, repository):
    """(member, depth) -> rows that the segment has run."""
    with grpc.InferenceServerClient(server.grpc_url) as client:
        statistics = client.get_inference_statistics(as_json=True)["model_stats"]
    counts = {model["name"]: int(model.get("inference_count", 0)) for model in statistics}
    return {
        (number, depth): counts[segment.model]
        for number, member in enumerate(manifest_of(repository).members)
        for depth, segment in enumerate(member.segments, start=1)
    }


def assert_votes(outputs, repository, exit_, rows):
    np.testing.assert_allclose(outputs["PROBABILITIES"], vote_offline(repository, exit_, rows), rtol=1e-4, atol=1e-6)


def test_stages_end_inside_members_and_every_check_passes(repository):
    manifest = manifest_of(repository)
    inside = [number for number, exit_ in enumerate(manifest.exits) if manifest.ramps(number)]
    assert list(manifest.inner_stages) == inside and len(inside) > 1
    assert check_repository(repository).problems == ()


def test_a_missing_ensemble_of_a_stage_is_told(repository, tmp_path):
    copy = shutil.copytree(repository, tmp_path / "repository")
    name = stage_model("tiny", manifest_of(copy).inner_stages[0], None)
    shutil.rmtree(copy / name)
    assert [problem.file for problem in check_repository(copy).problems] == [f"{name}/config.pbtxt"]


@BOTH
def test_rows_that_cross_every_cut_get_the_full_vote(server, repository, protocol):
    outputs = ask(server, protocol, ROWS[:16])
    last = len(manifest_of(repository).exits) - 1
    assert (outputs["EXIT"] == last).all() and (outputs["REASON"] == Reason.FULL).all()
    assert_votes(outputs, repository, last, ROWS[:16])


def test_no_segment_runs_a_row_twice(server, repository):
    await_idle(server)
    before = rows_run(server, repository)
    for first in range(0, 48, 8):
        ask(server, "grpc", ROWS[first : first + 8])
    await_idle(server)
    after = rows_run(server, repository)
    ran = {pair: after[pair] - before[pair] for pair in before}
    assert all(48 <= rows < 48 + QUESTIONS for rows in ran.values()), ran


@pytest.mark.parametrize("place", [0, 1])
def test_rows_that_leave_inside_a_member_have_its_vote_and_later_segments_run_feedback_alone(
    triton, repository, tmp_path, place
):
    end = manifest_of(repository).inner_stages[place]
    leaving = leaving_at(repository, tmp_path, end)
    with serve(leaving, state_dir=tmp_path / "state") as server:
        await_idle(server)
        before = rows_run(server, leaving)
        for first in range(0, len(ROWS), 10):
            outputs = ask(server, "grpc", ROWS[first : first + 10])
            assert (outputs["EXIT"] == end).all() and (outputs["REASON"] == Reason.EARLY).all()
            assert_votes(outputs, leaving, end, ROWS[first : first + 10])
        await_idle(server)
        after = rows_run(server, leaving)
    depths = manifest_of(leaving).exits[end].depths
    for member, depth in before:
        ran = after[member, depth] - before[member, depth]
        if depth <= depths[member]:
            assert len(ROWS) <= ran < len(ROWS) + QUESTIONS
        else:
            assert 0 < ran < len(ROWS) / 4


def test_rows_that_stay_cross_without_those_that_have_left(triton, repository, tmp_path):
    manifest = manifest_of(repository)
    end = manifest.inner_stages[-1]
    votes = vote_offline(repository, end, ROWS[:16])
    median = float(np.median(1.0 - votes.max(axis=1)))
    risks = [0.0] * (len(manifest.exits) - 1)
    risks[end] = median
    copy = shutil.copytree(repository, tmp_path / "repository")
    override(copy, tuner_options=json.dumps({"thresholds": risks}), confidence="max_probability")
    with serve(copy, state_dir=tmp_path / "state") as server:
        outputs = ask(server, "grpc", ROWS[:16])
    early = outputs["EXIT"][:, 0] == end
    assert 0 < early.sum() < 16
    np.testing.assert_allclose(outputs["PROBABILITIES"][early], votes[early], rtol=1e-4, atol=1e-6)
    full = vote_offline(repository, len(manifest.exits) - 1, ROWS[:16])
    np.testing.assert_allclose(outputs["PROBABILITIES"][~early], full[~early], rtol=1e-4, atol=1e-6)


def test_feedback_of_several_tickets_crosses_in_one_call(triton, repository, tmp_path):
    end = manifest_of(repository).inner_stages[0]
    leaving = leaving_at(repository, tmp_path, end, feedback="all")
    with serve(leaving, state_dir=tmp_path / "state") as server:
        with grpc.InferenceServerClient(server.grpc_url) as client:
            answered = threading.Semaphore(0)
            for first in range(0, 64, 2):
                tensor = grpc.InferInput("IMAGE", [2, 1, 16, 16], "FP32")
                tensor.set_data_from_numpy(ROWS[first : first + 2])
                client.async_infer("tiny", [tensor], lambda result, error: answered.release())
            for _ in range(32):
                assert answered.acquire(timeout=60)
        await_idle(server)
        ran = rows_run(server, leaving).values()
        assert min(ran) >= 64 and max(ran) < min(ran) + QUESTIONS, ran


def test_who_asks_for_the_full_vote_gets_it_in_one_call(server, repository):
    outputs = ask(server, "grpc", ROWS[:16], exit="never")
    assert_votes(outputs, repository, len(manifest_of(repository).exits) - 1, ROWS[:16])


def test_with_all_exits_off_stages_make_one_call_of_it(server, repository):
    with controlled(server, repository, exits_off="all"):
        outputs = ask(server, "grpc", ROWS[:16])
    assert_votes(outputs, repository, len(manifest_of(repository).exits) - 1, ROWS[:16])


def test_a_row_that_is_not_finite_never_leaves_inside_a_member(triton, repository, tmp_path):
    end = manifest_of(repository).inner_stages[0]
    leaving = leaving_at(repository, tmp_path, end)
    rows = ROWS[:8].copy()
    rows[3, 0, 0, 0] = np.nan
    with serve(leaving, state_dir=tmp_path / "state") as server:
        outputs = ask(server, "grpc", rows)
    exits = outputs["EXIT"][:, 0]
    assert exits[3] == len(manifest_of(leaving).exits) - 1
    assert (np.delete(exits, 3) == end).all()
