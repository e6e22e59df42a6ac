"""Backend processes that are stopped under load: callers get their own answers or errors, never another's."""

import os
import signal
import time

import pytest

from benchmarks.kills import asked_model
from benchmarks.stress.served import Load, Serving, pids_of, until
from exeunt.serving.pip_server import serve
from exeunt.serving.processes import members
from exeunt_export.export_bag import export_bag
from tests.export.tiny import tiny_bag

pytestmark = [pytest.mark.triton, pytest.mark.slow]
STOPPED = [("ensemble", "tiny_exit/"), ("ensemble", "/tiny_a_s1"), ("ensemble", "tiny_vote/"), ("engine", "tiny_exit/")]
STOPPED.append(("plain", "tiny_exit/"))  # returns its answers from `execute()`
HARMLESS_S = 0.65  # noticed, and shorter than any pause that Triton minds
JUST_TOO_LONG_S = 1.1  # Triton gives up one request, and has just sent the next when the process goes on
TRIES = 5  # a busy machine may make a harmless pause longer


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    repository_by_mode = {}
    for name, mode in (("ensemble", "ensemble"), ("engine", "engine"), ("plain", "engine")):
        folder = tmp_path_factory.mktemp(name)
        gear = '\ngear = "plain"' if name == "plain" else ""
        bag = tiny_bag(folder, mode=mode, members=2, exit_table='tuner = "static"' + gear)
        repository_by_mode[name] = export_bag(bag, folder / "repository").output
    return repository_by_mode


def stop_for(pids, seconds):
    """Stop processes for so long."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def harmless_pause(repository, folder, mode, victim):
    """Whether the process said that Triton is in step with it after a short pause; nobody may have got an error."""
    folder.mkdir()
    with serve(repository, state_dir=folder / "state", log=folder / "log") as server:
        with Load(server.grpc_url, asked_model(mode, victim)) as load:
            stopped = pids_of(server.pid, victim)
            stop_for(stopped, HARMLESS_S)
            went_on_s = time.monotonic()
            until(lambda: load.last_good_s > went_on_s + 0.5 or not set(stopped) <= set(members(server.pid)), 60)
        assert load.wrong == []
        return "Triton is in step" in (folder / "log").read_text() and not load.errors


@pytest.mark.parametrize(("mode", "victim"), STOPPED)
def test_after_a_pause_that_triton_does_not_mind_everybody_gets_an_answer(repositories, tmp_path, mode, victim):
    assert any(harmless_pause(repositories[mode], tmp_path / str(number), mode, victim) for number in range(TRIES))


@pytest.mark.parametrize(("mode", "victim"), STOPPED)
def test_after_a_pause_that_is_too_long_for_triton_nobody_gets_anothers_answer(repositories, tmp_path, mode, victim):
    with Serving(repositories[mode], tmp_path) as serving:
        with Load(serving.ready["grpc"], asked_model(mode, victim)) as load:
            stop_for(serving.pids(victim), JUST_TOO_LONG_S)
            went_on_s = time.monotonic()
            until(lambda: load.last_good_s > went_on_s + 5.0, 60)
        assert load.wrong == []
