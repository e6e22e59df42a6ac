"""A small bag in the plain gear on the real server: `execute()` returns its answers, many requests at a time."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from exeunt.contract import Reason
from exeunt.serving.pip_server import serve
from tests.export.graphs import noise_rows
from tests.triton.calls import ask
from tests.triton.qa.bag import ALL_FAIL, B_GIVES_NAN, ROWS, Served, export_qa_bag

pytestmark = pytest.mark.triton
PLAIN = 'tuner = "static"\ngear = "plain"\nshadow_share = 0.0\n'
CALLERS, CALLS = 16, 40
SIDE = 16


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return export_qa_bag(tmp_path_factory.mktemp("plain"), "engine", PLAIN)


@pytest.fixture(scope="module")
def served(triton, repository, tmp_path_factory):
    with serve(repository, state_dir=tmp_path_factory.mktemp("plain_state")) as server:
        yield Served(repository, server)


def asked(client, rows):
    image = grpc.InferInput("IMAGE", list(rows.shape), "FP32")
    image.set_data_from_numpy(rows)
    result = client.infer("tiny", [image])
    return {name: result.as_numpy(name) for name in ("PROBABILITIES", "LABEL", "EXIT", "REASON")}


def test_every_one_of_many_callers_gets_the_full_votes_of_its_own_rows(served):
    """Requests of 1 to 3 rows; what comes at once shares a ticket, and an answer."""

    def calls(number):
        rng = np.random.default_rng(number)
        complaints = []
        with grpc.InferenceServerClient(served.server.grpc_url) as client:
            for _ in range(CALLS):
                indices = rng.choice(len(ROWS), size=rng.integers(1, 4), replace=False)
                outputs = asked(client, ROWS[indices])
                complaints += served.wrong(outputs, indices)
                complaints += ["not full"] * int((outputs["REASON"] != Reason.FULL).any())
        return complaints

    with ThreadPoolExecutor(CALLERS) as pool:
        assert [complaint for of_one in pool.map(calls, range(CALLERS)) for complaint in of_one] == []


def test_who_asks_what_is_refused_or_fails_costs_nobody_else_an_answer(served):
    stop = threading.Event()
    errors = []

    def strangers():
        with grpc.InferenceServerClient(served.server.grpc_url) as client:
            while not stop.is_set():
                for rows in (ROWS[:1] + ALL_FAIL, noise_rows(1, 3, SIDE)[:, :1]):
                    try:
                        asked(client, rows)
                    except InferenceServerException as error:
                        errors.append(str(error))

    stranger = threading.Thread(target=strangers)
    stranger.start()
    try:
        with grpc.InferenceServerClient(served.server.grpc_url) as client:
            for number in range(100):
                place = np.array([number % len(ROWS)])
                assert served.wrong(asked(client, ROWS[place]), place) == []
    finally:
        stop.set()
        stranger.join()
    assert errors


def test_a_member_that_gives_nan_does_not_vote(served):
    outputs = ask(served.server, "http", ROWS[:1] + B_GIVES_NAN)
    assert np.isfinite(outputs["PROBABILITIES"]).all()


def test_a_stop_answers_who_is_in_flight_and_tells_the_others(repository, tmp_path):
    ended: list[str] = []

    def calls(url):
        with grpc.InferenceServerClient(url) as client:
            while True:
                try:
                    asked(client, ROWS[:1])
                except InferenceServerException as error:
                    ended.append(str(error.status()))
                    return

    with serve(repository, state_dir=tmp_path / "state") as server:
        threads = [threading.Thread(target=calls, args=(server.grpc_url,)) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    assert ended == ["StatusCode.UNAVAILABLE"] * CALLERS
