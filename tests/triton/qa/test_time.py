"""C11 to C14: deadlines, calls that are given up, connections that are cut, clients that crawl."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from exeunt.contract import Reason
from tests.triton.calls import ask, await_idle
from tests.triton.qa.bag import ROWS
from tests.triton.qa.metrics import value_of
from tests.triton.qa.wire import LENGTH, binary, infer, send_part, tensor

pytestmark = pytest.mark.triton
UNAVAILABLE = {"http": "503", "grpc": "StatusCode.UNAVAILABLE"}
PATIENCE_S = 30.0  # on any machine: what hangs, hangs for longer


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_c11_a_deadline_before_any_vote_is_unavailable_and_soon(served, protocol):
    for _ in range(100):  # an answer that is there sooner than the deadline is looked at is given
        start_s = time.monotonic()
        try:
            assert served.wrong(ask(served.server, protocol, ROWS, deadline_ms=0.001)) == []
        except InferenceServerException as error:
            assert "deadline_ms passed" in str(error) and error.status() == UNAVAILABLE[protocol]
            assert time.monotonic() - start_s < PATIENCE_S
            return
    pytest.fail("a deadline of a microsecond was never too short")


def test_c11_whatever_the_deadline_the_answer_is_a_right_vote_or_unavailable(served):
    def send(deadline_ms):
        try:
            outputs = ask(served.server, "grpc", ROWS, exit="never", deadline_ms=float(deadline_ms))
        except InferenceServerException as error:
            return [] if "deadline_ms passed" in str(error) else [str(error)]
        odd = set(outputs["REASON"].ravel().tolist()) - {Reason.FULL, Reason.DEADLINE}
        return served.wrong(outputs) + [f"reasons {odd}"] * bool(odd)

    with ThreadPoolExecutor(8) as pool:
        assert [wrong for wrong in pool.map(send, np.geomspace(0.1, 100.0, 240)) if wrong] == []
    await_idle(served.server)


def test_c11_kserves_own_timeout_is_a_deadline_too_over_http(served):
    for timeout_us in (1, 60_000_000):
        status, text = infer(served.server.http_url, {"inputs": [tensor(ROWS)], "parameters": {"timeout": timeout_us}})
        assert status == 200 or (status == 503 and "timeout passed after" in text and timeout_us == 1)
    await_idle(served.server)


def test_c11_kserves_own_timeout_is_a_deadline_too_over_grpc(served):
    with grpc.InferenceServerClient(served.server.grpc_url) as client:
        for _ in range(100):  # an answer that is there sooner than the deadline is looked at is given
            try:
                client.infer("tiny", [_input(ROWS)], timeout=1)
            except InferenceServerException as error:
                assert "timeout passed after" in str(error) and error.status() == UNAVAILABLE["grpc"]
                return
    pytest.fail("a timeout of a microsecond was never too short")


def test_c12_calls_cancelled_at_any_moment_leave_nothing_in_flight_and_disturb_nobody(served):
    """C12. That later stages are not begun cannot be had here: an ensemble's step is not told of a cancellation
    (Triton 24.10), so a cancelled call runs to its end; a client that will not wait says so by `deadline_ms`.
    """
    rng = np.random.default_rng(0)
    over = threading.Semaphore(0)

    def cancel(client, wait_s):
        call = client.async_infer("tiny", [_input(ROWS)], callback=lambda result, error: over.release())
        time.sleep(wait_s)
        call.cancel()

    def storm():
        with grpc.InferenceServerClient(served.server.grpc_url) as client:
            for wait_s in rng.uniform(0, 0.006, 150):
                cancel(client, wait_s)
            for _ in range(150):
                assert over.acquire(timeout=PATIENCE_S)

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        complaints = [served.wrong(ask(served.server, "grpc", ROWS)) for _ in range(60)]
    finally:
        thread.join()
    assert [wrong for wrong in complaints if wrong] == []
    await_idle(served.server)


def test_c13_connections_cut_after_the_request_leave_nothing_in_flight(served):
    """C13. Triton 24.10 does not notice a client that has gone: its work completes. Nothing of it may stay."""
    for wait_s in np.random.default_rng(1).uniform(0, 0.004, 150):
        connection = send_part(served.server.http_url, *_whole(ROWS))
        time.sleep(wait_s)
        connection.close()
    await_idle(served.server)
    assert value_of(served.server, "exeunt_thread_faults_total") == 0
    assert served.wrong(ask(served.server, "http", ROWS)) == []


def test_c14_clients_that_crawl_hold_nobody_up(served):
    head, body = _whole(ROWS)
    slow = [send_part(served.server.http_url, head, body[: 40 * number]) for number in range(1, 60)]
    deaf = [send_part(served.server.http_url, head, body) for _ in range(60)]  # never read what they asked for
    try:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: ask(served.server, "http", ROWS), range(60)))
        assert [wrong for wrong in map(served.wrong, answers) if wrong] == []
    finally:
        for connection in slow + deaf:
            connection.close()
    await_idle(served.server)


def _input(rows):
    return grpc.InferInput("IMAGE", list(rows.shape), "FP32").set_data_from_numpy(rows)


def _whole(rows):
    """Head and body of a good request."""
    table, raw = binary(rows)
    text = json.dumps(table).encode()
    body = text + raw
    head = "POST /v2/models/tiny/infer HTTP/1.1\r\nHost: a\r\n"
    return head + f"{LENGTH}: {len(text)}\r\nContent-Length: {len(body)}\r\n\r\n", body
