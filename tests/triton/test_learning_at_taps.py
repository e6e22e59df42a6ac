"""Ramps that learn in ensemble mode, on the real server: the controller holds their heads."""

import json
import shutil
import time

import numpy as np
import pytest

from exeunt.cli.main import main
from exeunt.contract import Reason
from exeunt.hosting.ramp_learning import HEADS_SUFFIX
from exeunt.hosting.status import find_status
from exeunt.learning.files import load_heads
from exeunt.records.record import read_record
from exeunt.serving.pip_server import serve
from exeunt_export.export_bag import export_bag
from tests.export.tiny import tiny_bag
from tests.hosting.learning_server import SETTINGS, stream
from tests.triton.calls import ask, await_idle, manifest_of, override, vote_offline

pytestmark = pytest.mark.triton
ROWS = stream(16, 7777)


@pytest.fixture(scope="module", params=["parallel", "cascade", "inside"])
def folder(request, triton, tmp_path_factory):
    """A repository, and the state and record of a server of it that has learnt and stopped in order."""
    folder = tmp_path_factory.mktemp(request.param)
    inside = request.param == "inside"  # stages that end inside members
    schedule, cuts = ("cascade", 'stages = "exits"') if inside else (request.param, "")
    table = f"{SETTINGS}\nshadow_share = 0.2\nrecords_dir = {json.dumps(str(folder / 'records'))}\n"
    table += 'gear = "stages"\n' if inside else ""
    export_bag(tiny_bag(folder, members=2, exit_table=table, schedule=schedule, cuts=cuts), folder / "repository")
    with serve(folder / "repository", state_dir=folder / "state") as server:
        end_s, number = time.monotonic() + 120, 0
        while not metric(folder / "state", "version"):
            assert time.monotonic() < end_s, find_status(folder / "state", "tiny").metrics
            ask(server, "grpc", stream(16, number))
            number += 1
        for more in range(40):
            ask(server, "grpc", stream(1 + more % 16, 5000 + more))
        await_idle(server)
    return folder


@pytest.fixture
def state(folder, tmp_path):
    return shutil.copytree(folder / "state", tmp_path / "state")


def metric(state_dir, name):
    return find_status(state_dir, "tiny").metrics.get(f"ramps_{name}", 0)


def heads_of(folder, state_dir):
    manifest = manifest_of(folder / "repository")
    return load_heads(state_dir / f"{manifest.content_hash}{HEADS_SUFFIX}", manifest).heads


def served(folder, tmp_path, **parameters):
    """A copy of the repository that records nothing, with parameters in the exit controller's config.pbtxt."""
    return override(shutil.copytree(folder / "repository", tmp_path / "repository"), records_dir="", **parameters)


def test_learnt_heads_serve_after_a_restart_and_answers_at_exits_are_theirs(folder, state, tmp_path):
    heads = heads_of(folder, state)
    repository = served(folder, tmp_path, gear="exits")  # else a busy machine may find that exits do not pay
    with serve(repository, state_dir=state) as server:
        assert main(["control", "tiny", "--state-dir", str(state), "--ramps", "freeze", "--max-loss", "1.0"]) == 0
        assert metric(state, "version") == heads.version > 0
        early, number, end_s = 0, 8000, time.monotonic() + 120
        while not early:
            assert time.monotonic() < end_s
            rows, number = stream(16, number), number + 1
            outputs = ask(server, "grpc", rows)
            for exit_ in np.unique(outputs["EXIT"][outputs["REASON"] == Reason.EARLY]):
                at_exit = outputs["EXIT"][:, 0] == exit_
                expected = vote_offline(repository, exit_, rows, heads=heads.table)
                np.testing.assert_allclose(outputs["PROBABILITIES"][at_exit], expected[at_exit], rtol=1e-3, atol=1e-5)
                early += int(at_exit.sum())


def test_the_full_vote_is_what_it_was_whatever_ramps_have_learnt(folder, state, tmp_path):
    repository = served(folder, tmp_path)
    with serve(repository, state_dir=state) as server:
        outputs = ask(server, "grpc", ROWS, exit="never")
        plain = ask(server, "grpc", ROWS, model="tiny_full")
    np.testing.assert_allclose(outputs["PROBABILITIES"], plain["PROBABILITIES"], rtol=1e-4, atol=1e-6)
    assert (outputs["REASON"] == Reason.FULL).all()


def test_an_operator_takes_heads_back_and_gives_them_to_another_server(folder, state, tmp_path):
    repository = served(folder, tmp_path)
    version = heads_of(folder, state).version
    file = tmp_path / "ramps.npz"

    def control(where, *options):
        assert main(["control", "tiny", "--state-dir", str(where), *options]) == 0

    with serve(repository, state_dir=state):
        control(state, "--ramps", "freeze", "--export-ramps", str(file))
        control(state, "--ramps", "exported")
        assert (metric(state, "frozen"), metric(state, "version")) == (1, version + 1)
        control(state, "--ramps", "previous")
        assert metric(state, "version") == version + 2
    other = tmp_path / "other"
    with serve(repository, state_dir=other) as server:
        await_idle(server)
        control(other, "--apply-ramps", str(file))
        assert metric(other, "version") == 1
        ask(server, "grpc", ROWS)


def test_a_record_of_ramps_that_learn_is_decided_again(folder, capsys):
    recorded = read_record(folder / "records")
    assert {0, 1} <= set(recorded.decided.heads_version.tolist())
    assert main(["replay", str(folder / "records"), "--repository", str(folder / "repository"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["as_recorded"]["budget"] == 1.0


def test_a_server_that_is_told_not_to_learn_answers_by_the_exported_heads(folder, state, tmp_path):
    repository = served(folder, tmp_path, learn_ramps="false")
    with serve(repository, state_dir=state) as server:
        await_idle(server)
        assert "ramps_version" not in find_status(state, "tiny").metrics
        rows = [stream(16, 9000 + number) for number in range(8)]
        for part in rows:
            outputs = ask(server, "grpc", part)
            for exit_ in np.unique(outputs["EXIT"]):
                at_exit = outputs["EXIT"][:, 0] == exit_
                expected = vote_offline(repository, exit_, part)
                np.testing.assert_allclose(outputs["PROBABILITIES"][at_exit], expected[at_exit], rtol=1e-3, atol=1e-5)
