"""A server that loses a process is whole again by itself; a supervisor that is killed leaves nothing behind."""

import http.client
import time
from pathlib import Path

import pytest

from benchmarks.kills import ANSWERED_WITHIN_S, VICTIMS, WHOLE_WITHIN_S, asked_model, strike
from benchmarks.stress.served import ROWS, Load, Serving, until
from exeunt.serving.processes import members
from exeunt_export.export_bag import export_bag
from tests.export.tiny import tiny_bag
from tests.triton.qa.wire import infer, tensor

pytestmark = [pytest.mark.triton, pytest.mark.slow]


@pytest.fixture(scope="module", params=["ensemble", "engine"])
def mode(request):
    return request.param


@pytest.fixture(scope="module")
def repository(mode, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    export_bag(tiny_bag(folder, mode=mode, members=2, exit_table='tuner = "static"'), folder / "repository")
    return folder / "repository"


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_killed_process_is_named_and_the_server_is_whole_again_on_the_same_ports(repository, mode, tmp_path, victim):
    with Serving(repository, tmp_path) as serving:
        with Load(serving.ready["grpc"], asked_model(mode, victim)) as load:
            killed_s = strike(serving.pids(victim), "killed")
            again = serving.next_line()
            assert again["status"] == "ready" and again["grpc"] == serving.ready["grpc"]
            until(lambda: load.last_good_s > killed_s + 1.0, 60)
            assert time.monotonic() - killed_s < WHOLE_WITHIN_S
        assert max(load.waits_s) < ANSWERED_WITHIN_S  # every call has returned: one that hung counts
        assert not load.wrong
        assert VICTIMS[victim] in serving.errors()
    assert members(again["pid"]) == []


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_process_paused_for_five_seconds_costs_nobody_more_than_a_wait(repository, mode, tmp_path, victim):
    with Serving(repository, tmp_path) as serving:
        with Load(serving.ready["grpc"], asked_model(mode, victim)) as load:
            strike(serving.pids(victim), "paused")
            went_on_s = time.monotonic()
            # Triton may give the paused process up: then the server is started again
            until(lambda: load.last_good_s > went_on_s + 0.5, WHOLE_WITHIN_S)
            # of the calls that have returned by now: one may hang on, see docs/reliability.md
            assert max(load.waits_s) < ANSWERED_WITHIN_S
        assert not load.wrong


def test_a_shape_that_ends_triton_costs_its_callers_a_restart(repository, tmp_path):
    with Serving(repository, tmp_path) as serving:
        claim = {"inputs": [tensor(ROWS, shape=[4 * 10**12, 1, 16, 16], data=[1.0])]}  # more than can be addressed
        with pytest.raises((OSError, http.client.HTTPException)):
            infer(serving.ready["http"], claim)
        again = serving.next_line()
        assert again["status"] == "ready" and again["http"] == serving.ready["http"]
        assert infer(again["http"], {"inputs": [tensor(ROWS)]})[0] == 200


def test_a_supervisor_that_is_killed_leaves_no_process_and_no_shared_memory(repository, tmp_path):
    with Serving(repository, tmp_path) as serving, Load(serving.ready["grpc"]):
        name = serving.region_name()
        assert list(Path("/dev/shm").glob(f"*{name}*"))
        serving.process.kill()
        serving.process.wait()
        until(lambda: not members(serving.ready["pid"]) and not list(Path("/dev/shm").glob(f"*{name}*")), 30)
