"""Ensemble mode by stages on the real server: rows that have left cost the later members nothing."""

import json
import shutil

import numpy as np
import pytest
from tritonclient import grpc

from exeunt.bag_stages import BagStages
from exeunt.contract import Reason
from exeunt.serving.checks.repository import check_repository
from exeunt.serving.pip_server import serve
from exeunt_export.export_bag import export_bag
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag
from tests.triton.calls import NOBODY_LEAVES, ask, await_idle, controlled, manifest_of, override, vote_offline

pytestmark = pytest.mark.triton
ROWS = noise_rows(200, 7, 16)
BOTH = pytest.mark.parametrize("protocol", ["http", "grpc"])


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Three members one after the other, in stages, of which nobody leaves early."""
    folder = tmp_path_factory.mktemp("stages")
    table = NOBODY_LEAVES + 'gear = "stages"\nfeedback = 0.1\n'
    export_bag(tiny_bag(folder, exit_table=table, schedule="cascade"), folder / "repository")
    return folder / "repository"


@pytest.fixture(scope="module")
def server(triton, repository, tmp_path_factory):
    with serve(repository, state_dir=tmp_path_factory.mktemp("state")) as running:
        yield running


@pytest.fixture
def leaving(repository, tmp_path):
    """A copy of which everybody leaves at the end of the first stage."""
    stages = BagStages(manifest_of(repository))
    risks = [1.0 if number == stages.ends[0] else 0.0 for number in range(len(stages.taps) - 1)]
    return copied(repository, tmp_path, tuner_options=json.dumps({"thresholds": risks}))


def copied(repository, tmp_path, **parameters):
    """A copy of a repository with parameters in the exit controller's config.pbtxt."""
    return override(shutil.copytree(repository, tmp_path / "repository"), **parameters)


def rows_run(server, repository):
    """Rows that each member's last segment has run, in the order of the stages."""
    manifest = manifest_of(repository)
    first_exit = [next(n for n, e in enumerate(manifest.exits) if e.depths[member]) for member in range(3)]
    with grpc.InferenceServerClient(server.grpc_url) as client:
        statistics = client.get_inference_statistics(as_json=True)["model_stats"]
    counts = {model["name"]: int(model.get("inference_count", 0)) for model in statistics}
    members = sorted(range(3), key=first_exit.__getitem__)
    return [counts[manifest.members[member].segments[-1].model] for member in members]


def assert_votes(outputs, repository, exit_, rows):
    np.testing.assert_allclose(outputs["PROBABILITIES"], vote_offline(repository, exit_, rows), rtol=1e-4, atol=1e-6)


def test_each_member_of_a_cascade_is_a_stage(repository):
    assert len(BagStages(manifest_of(repository)).ends) == 3


def test_the_repository_passes_every_check(repository):
    assert check_repository(repository).problems == ()


def test_no_member_is_cut_where_no_exit_is(repository):
    manifest = manifest_of(repository)
    for number, member in enumerate(manifest.members):
        used = {exit_.depths[number] for exit_ in manifest.exits} - {0}
        assert used == set(range(1, member.depth + 1))


@BOTH
def test_rows_that_go_through_all_stages_get_the_full_vote(server, repository, protocol):
    outputs = ask(server, protocol, ROWS[:16])
    last = len(manifest_of(repository).exits) - 1
    assert (outputs["EXIT"] == last).all() and (outputs["REASON"] == Reason.FULL).all()
    assert_votes(outputs, repository, last, ROWS[:16])


def test_who_asks_for_the_full_vote_gets_it_in_one_call(server, repository):
    outputs = ask(server, "grpc", ROWS[:16], exit="never")
    assert_votes(outputs, repository, len(manifest_of(repository).exits) - 1, ROWS[:16])


def test_rows_that_leave_after_the_first_stage_have_its_vote(triton, leaving, tmp_path):
    end = BagStages(manifest_of(leaving)).ends[0]
    with serve(leaving, state_dir=tmp_path / "state") as server:
        outputs = ask(server, "grpc", ROWS[:16])
    assert (outputs["EXIT"] == end).all() and (outputs["REASON"] == Reason.EARLY).all()
    assert_votes(outputs, leaving, end, ROWS[:16])


def test_later_members_run_only_the_rows_that_are_drawn_as_feedback(triton, leaving, tmp_path):
    with serve(leaving, state_dir=tmp_path / "state") as server:
        await_idle(server)
        before = rows_run(server, leaving)
        for first in range(0, len(ROWS), 10):
            ask(server, "grpc", ROWS[first : first + 10])
        await_idle(server)
        first, *later = np.subtract(rows_run(server, leaving), before)
    assert first == len(ROWS)
    assert all(0 < rows < len(ROWS) / 4 for rows in later)


def test_outside_stages_every_member_runs_every_row(triton, leaving, tmp_path):
    (tmp_path / "other").mkdir()
    exits = copied(leaving, tmp_path / "other", gear="exits", feedback="all")
    with serve(exits, state_dir=tmp_path / "state") as server:
        await_idle(server)
        before = rows_run(server, exits)
        ask(server, "grpc", ROWS[:16])
        await_idle(server)
        assert np.subtract(rows_run(server, exits), before).tolist() == [16, 16, 16]


def test_with_all_exits_off_stages_make_one_call_of_it(server, repository):
    with controlled(server, repository, exits_off="all"):
        outputs = ask(server, "grpc", ROWS[:16])
    assert_votes(outputs, repository, len(manifest_of(repository).exits) - 1, ROWS[:16])
