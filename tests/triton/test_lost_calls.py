"""Ensemble mode: calls of the members that Triton does not answer in time, on the real server."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from exeunt.serving.pip_server import Server, serve
from exeunt_export.export_bag import export_bag
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag
from tests.triton.calls import ask, await_idle, vote_offline
from tests.triton.qa.metrics import read_samples, value_of

pytestmark = pytest.mark.triton
ROWS = noise_rows(2, 5, 16)
DREAD = 1e6  # a pixel of this size makes the first segment sleep
ASLEEP_S, PATIENCE_S = 4.0, 0.5
SLEEPER = f"""
import time
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        folder = f"{{args['model_repository']}}/{{args['model_version']}}"
        self._session = onnxruntime.InferenceSession(f"{{folder}}/model.onnx", providers=["CPUExecutionProvider"])

    def execute(self, requests):
        return [self._answer(pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy()) for request in requests]

    def _answer(self, image):
        if (image >= {DREAD}).any():
            time.sleep({ASLEEP_S})
        (found,) = self._session.run(["PROBABILITIES"], {{"IMAGE": image}})
        return pb_utils.InferenceResponse([pb_utils.Tensor("PROBABILITIES", found)])
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bag whose first segment sleeps longer than a call may take, where a row says so."""
    folder = tmp_path_factory.mktemp("lost")
    bag = tiny_bag(folder, mode="ensemble", exit_table=f"bag_call_s = {PATIENCE_S}", cuts="exits = 1")
    export_bag(bag, folder / "repository")
    segment = folder / "repository" / "tiny_a_s1"
    config = segment / "config.pbtxt"
    config.write_text(config.read_text().replace('backend: "onnxruntime"', 'backend: "python"'))
    (segment / "1" / "model.py").write_text(SLEEPER)
    return folder / "repository"


def lost_calls(server: Server) -> float:
    return read_samples(server)["exeunt_runner", (("bag", "tiny"), ("name", "lost_calls_total"))]


def good_answer(server: Server) -> dict[str, np.ndarray]:
    """The full vote, as soon as the segment is awake."""
    end_s = time.monotonic() + 120
    while True:
        try:
            return ask(server, "grpc", ROWS, exit="never")
        except InferenceServerException:
            assert time.monotonic() < end_s


def test_whoever_waits_for_a_call_that_is_not_answered_is_told_and_its_place_is_free_again(
    repository: Path, tmp_path: Path
) -> None:
    with serve(repository, state_dir=tmp_path / "state") as server:
        dread = np.full_like(ROWS, DREAD)
        with pytest.raises(InferenceServerException, match=rf"not answered within {PATIENCE_S:g} s, twice"):
            ask(server, "grpc", dread, exit="never")
        await_idle(server)  # the segment sleeps on
        answer = good_answer(server)
        np.testing.assert_allclose(answer["PROBABILITIES"], vote_offline(repository, -1, ROWS), rtol=1e-4, atol=1e-6)
        assert lost_calls(server) >= 2 and value_of(server, "exeunt_thread_faults_total") == 0


def test_more_lost_calls_than_tickets_leave_room_for_everybody_else(repository: Path, tmp_path: Path) -> None:
    with serve(repository, state_dir=tmp_path / "state") as server:
        dread = np.full_like(ROWS, DREAD)

        def lose(_: int) -> None:
            with pytest.raises(InferenceServerException, match="twice"):
                ask(server, "grpc", dread, exit="never")

        with ThreadPoolExecutor(4) as callers:
            list(callers.map(lose, range(10)))
        assert lost_calls(server) >= 16  # max_tickets
        await_idle(server)
        assert good_answer(server)["LABEL"].size == len(ROWS)
