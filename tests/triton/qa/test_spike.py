"""C15: ten times more than the server can do: a bounded queue, "come again" for the rest, and as before after it."""

import threading
import time

import pytest
from tritonclient import grpc

from exeunt.hosting.status import find_status
from exeunt.serving.pip_server import serve
from tests.serving.repository import copy_with
from tests.triton.calls import ask, await_idle
from tests.triton.qa.bag import ROWS, Served

pytestmark = pytest.mark.triton
MOST_WAITING_ROWS = 60
FLOOD = 3000


@pytest.fixture(scope="module")
def narrow(triton, qa_repository, tmp_path_factory):
    """A server that lets few rows wait."""
    folder = tmp_path_factory.mktemp("narrow")
    wishes = {"max_waiting_rows": str(MOST_WAITING_ROWS), "max_wait_ms": "0.0", "max_tickets": "2"}
    repository = copy_with(qa_repository, folder / "repository", **wishes)
    with serve(repository, state_dir=folder / "state") as server:
        yield Served(repository, server)


@pytest.fixture(scope="module")
def quick(triton, qa_repository, tmp_path_factory):
    """One that takes its Triton for a newer one, and returns refusals instead of sending them."""
    folder = tmp_path_factory.mktemp("quick")
    wishes = {"max_waiting_rows": str(MOST_WAITING_ROWS), "max_tickets": "2"}
    repository = copy_with(qa_repository, folder / "repository", **wishes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NVIDIA_TRITON_SERVER_VERSION", "25.05")
        with serve(repository, state_dir=folder / "state") as server:
            yield Served(repository, server)


def flood(served, count):
    """Send so many requests at once; answers, and errors as text."""
    answers, errors, over = [], [], threading.Semaphore(0)

    def came(result, error):
        (answers if error is None else errors).append(result if error is None else error)
        over.release()

    with grpc.InferenceServerClient(served.server.grpc_url) as client:
        image = grpc.InferInput("IMAGE", list(ROWS.shape), "FP32").set_data_from_numpy(ROWS)
        for _ in range(count):
            client.async_infer("tiny", [image], callback=came, parameters={"exit": "never"})
        for _ in range(count):
            assert over.acquire(timeout=60), "a call was never answered"
    return answers, errors


def test_c15_a_spike_is_answered_or_told_to_come_again_and_the_queue_stays_bounded(narrow):
    waiting, stop = [], threading.Event()

    def look():
        while not stop.wait(0.2):
            waiting.append(find_status(narrow.server.state_dir, "tiny").waiting_rows)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        answers, errors = flood(narrow, FLOOD)
    finally:
        stop.set()
        watcher.join()
    assert answers and errors
    assert {error.status() for error in errors} == {"StatusCode.UNAVAILABLE"}
    assert max(waiting, default=0) <= MOST_WAITING_ROWS
    for answer in answers:
        outputs = {name: answer.as_numpy(name) for name in ("EXIT", "LABEL", "PROBABILITIES")}
        assert narrow.wrong(outputs) == []


def test_c15_refusals_that_are_returned_at_once_are_the_same(quick):
    answers, errors = flood(quick, FLOOD)
    assert answers and {error.status() for error in errors} == {"StatusCode.UNAVAILABLE"}
    assert all("come again" in str(error) for error in errors)
    await_idle(quick.server)


def test_c15_after_a_spike_all_is_as_before(narrow):
    flood(narrow, FLOOD)
    end, in_a_row = time.monotonic() + 60, 0
    while in_a_row < 30:
        assert time.monotonic() < end
        try:
            in_a_row = in_a_row + 1 if narrow.wrong(ask(narrow.server, "grpc", ROWS)) == [] else 0
        except grpc.InferenceServerException:
            in_a_row = 0
    await_idle(narrow.server)


def test_c15_in_a_storm_of_clients_that_give_up_polite_ones_get_right_answers_or_are_refused(narrow):
    gave_up, polite, stop = threading.Semaphore(0), [], threading.Event()

    def be_polite():
        while not stop.wait(0.05):
            try:
                polite.extend(narrow.wrong(ask(narrow.server, "grpc", ROWS)))
            except grpc.InferenceServerException as error:
                polite.extend([] if error.status() == "StatusCode.UNAVAILABLE" else [str(error)])

    callers = [threading.Thread(target=be_polite) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        with grpc.InferenceServerClient(narrow.server.grpc_url) as client:
            image = grpc.InferInput("IMAGE", list(ROWS.shape), "FP32").set_data_from_numpy(ROWS)
            for _ in range(FLOOD):
                client.async_infer("tiny", [image], lambda result, error: gave_up.release(), client_timeout=0.002)
            for _ in range(FLOOD):
                assert gave_up.acquire(timeout=60), "a call was never ended"
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert polite == []
    await_idle(narrow.server)
    assert narrow.wrong(ask(narrow.server, "grpc", ROWS)) == []
