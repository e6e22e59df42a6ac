"""A gateway from its start to its end: what it refuses to start with, a server that is away, a stop under load."""

import gzip
import json
import socket
import threading
import time
from collections import Counter

import numpy as np
import pytest
from tritonclient import grpc, http
from tritonclient.utils import InferenceServerException

from exeunt.cli.main import main
from tests.export.graphs import noise_rows
from tests.gateway.running import Gateway
from tests.triton.calls import ask, await_idle
from tests.triton.qa.wire import infer, tensor

pytestmark = pytest.mark.triton
ROWS = noise_rows(2, 5, 16)
KINDS = {"http": http, "grpc": grpc}
BOTH = pytest.mark.parametrize("protocol", ["http", "grpc"])


@pytest.fixture
def nowhere():
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@BOTH
def test_a_server_that_is_away_is_said_without_its_address(gated_repository, nowhere, protocol):
    with Gateway(gated_repository, nowhere, nowhere) as gateway, pytest.raises(InferenceServerException) as caught:
        ask(gateway, protocol, ROWS)
    assert caught.value.message() == "the server behind this gateway cannot be reached; its operator must see to it"
    assert caught.value.status() in ("StatusCode.UNAVAILABLE", "503")


@BOTH
def test_a_server_that_comes_later_is_found(gated_server, gated_repository, nowhere, protocol):
    with Gateway(gated_repository, nowhere, nowhere) as gateway:
        with pytest.raises(InferenceServerException):
            ask(gateway, protocol, ROWS)
        port = nowhere.split(":")[1]
        with Gateway.before(gated_server, gated_repository, f"--{protocol}-port", port):  # as good as the server
            end = time.monotonic() + 60
            while True:
                try:
                    assert ask(gateway, protocol, ROWS)["LABEL"].shape == (2, 1)
                    return
                except InferenceServerException:
                    assert time.monotonic() < end
                    time.sleep(0.1)


@pytest.mark.parametrize("option", ["--http-port", "--grpc-port"])
def test_a_port_that_is_taken_is_refused_by_name(gated_repository, option, capsys):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        assert main(["gateway", str(gated_repository), option, port]) == 78
    assert f"{option} {port}" in capsys.readouterr().err


def test_a_repository_without_a_bag_is_refused(tmp_path, capsys):
    assert main(["gateway", str(tmp_path)]) == 78
    assert "holds no bag" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--max-body-mb", "--max-json-mb", "--max-outstanding"])
def test_a_bound_below_its_least_is_refused(gated_repository, option, capsys):
    assert main(["gateway", str(gated_repository), option, "-1"]) == 78
    assert f"{option} -1; allowed: from" in capsys.readouterr().err


def test_bodies_beyond_the_bound_are_refused_over_both_protocols(gated_server, gated_repository):
    large = np.zeros((1200, 1, 16, 16), np.float32)
    with Gateway.before(gated_server, gated_repository, "--max-body-mb", "1") as gateway:
        for protocol, status in (("http", "413"), ("grpc", "StatusCode.RESOURCE_EXHAUSTED")):
            with pytest.raises(InferenceServerException) as caught:
                ask(gateway, protocol, large)
            assert caught.value.status() == status
        status, text = infer(gateway.http_url, {"inputs": [tensor(large)]})
        assert status == 413 and "--max-body-mb" in text
        bomb = gzip.compress(bytes(10**8))
        status, text = infer(gateway.http_url, bomb, Content_Encoding="gzip")
        assert len(bomb) < 10**6 and status == 413 and "--max-body-mb" in text


def test_callers_that_leave_make_no_trouble(gated_server, gated_repository):
    head = json.dumps({"inputs": [tensor(ROWS)]}).encode()
    with Gateway.before(gated_server, gated_repository, "--max-outstanding", "1") as gateway:
        for _ in range(30):
            host, port = gateway.http_url.split(":")
            with socket.create_connection((host, int(port))) as caller:
                line = f"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(head)}\r\n\r\n"
                caller.sendall(line.encode() + head)
        with grpc.InferenceServerClient(gateway.grpc_url) as client:
            image = grpc.InferInput("IMAGE", list(ROWS.shape), "FP32").set_data_from_numpy(ROWS)
            for number in range(30):
                client.async_infer("tiny", [image], lambda result, error: None, client_timeout=0.001 * (number % 5 + 1))
        assert ask(gateway, "http", ROWS)["LABEL"].shape == (2, 1)
        assert ask(gateway, "grpc", ROWS)["LABEL"].shape == (2, 1)
        await_idle(gated_server)


def answered_by(server):
    """Requests that the server has answered so far."""
    with http.InferenceServerClient(server.http_url) as client:
        return client.get_inference_statistics("tiny")["model_stats"][0]["inference_stats"]["success"]["count"]


def test_a_stop_under_load_answers_everybody_whom_it_let_in(gated_server, gated_repository):
    expected = ask(gated_server, "grpc", ROWS, exit="never")["PROBABILITIES"]
    before = answered_by(gated_server)
    outcomes, wrong, stop_callers = Counter(), [], threading.Event()

    def caller(protocol, url):
        kind = KINDS[protocol]
        image = kind.InferInput("IMAGE", list(ROWS.shape), "FP32").set_data_from_numpy(ROWS)
        with kind.InferenceServerClient(url) as client:
            while not stop_callers.is_set():
                try:
                    answer = client.infer("tiny", [image], parameters={"exit": "never"}).as_numpy("PROBABILITIES")
                    outcomes["answered"] += 1
                    if not np.array_equal(answer, expected):
                        wrong.append(answer)
                except InferenceServerException as error:
                    outcomes[error.status()] += 1
                    time.sleep(0.01)
                except ConnectionRefusedError:
                    return

    with Gateway.before(gated_server, gated_repository) as gateway:
        urls = {"http": gateway.http_url, "grpc": gateway.grpc_url}
        callers = [threading.Thread(target=caller, args=(kind, urls[kind])) for kind in ("http", "grpc") * 4]
        for one in callers:
            one.start()
        while outcomes["answered"] < 200:
            time.sleep(0.01)
        ended = gateway.stop()
    stop_callers.set()
    for one in callers:
        one.join()
    assert ended == (0, {"status": "stopped", "drained": True}, "")
    assert not wrong and outcomes["answered"] == answered_by(gated_server) - before
    # gRPC's library cancels what comes in the very last moment: once for each caller
    assert set(outcomes) <= {"answered", "503", "StatusCode.UNAVAILABLE", "StatusCode.CANCELLED"}
    assert outcomes["StatusCode.CANCELLED"] <= 4
