"""Ensemble mode: calls of the members that Triton does not answer, on the real server."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from exeunt.serving.pip_server import Server, serve
from exeunt.serving.processes import members
from exeunt_export.export_bag import export_bag
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag
from tests.triton.calls import ask, await_idle, vote_offline
from tests.triton.qa.metrics import read_samples, value_of

pytestmark = pytest.mark.triton
ROWS = noise_rows(2, 5, 16)
PATIENCE_S = 1.0


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lost")
    export_bag(tiny_bag(folder, mode="ensemble", exit_table=f"bag_call_s = {PATIENCE_S}"), folder / "repository")
    return folder / "repository"


@contextmanager
def stopped(server: Server, model: str) -> Iterator[None]:
    """The process of a model does not run: its calls are answered when the block has ended, not before."""
    pids = [pid for pid in members(server.pid) if f"/{model}" in Path(f"/proc/{pid}/cmdline").read_text()]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_callers_of_a_call_that_is_never_answered_are_told_and_its_place_is_free_again(
    repository: Path, tmp_path: Path
) -> None:
    with serve(repository, state_dir=tmp_path / "state") as server:
        ask(server, "grpc", ROWS)
        with (
            stopped(server, "tiny_a_s"),
            pytest.raises(InferenceServerException, match=r"not answered within 1 s, twice"),
        ):
            ask(server, "grpc", ROWS, exit="never")
        answer = ask(server, "grpc", ROWS, exit="never")
        np.testing.assert_allclose(answer["PROBABILITIES"], vote_offline(repository, -1, ROWS), rtol=1e-4, atol=1e-6)
        await_idle(server)
        assert read_samples(server)["exeunt_runner", (("bag", "tiny"), ("name", "lost_calls_total"))] >= 2
        assert value_of(server, "exeunt_thread_faults_total") == 0
