"""Traffic on the real server: many clients, good and bad, without think time, for a minute."""

import threading
import time

import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from tests.export.graphs import noise_rows
from tests.triton.calls import ask, await_idle, controlled, manifest_of, vote_offline

pytestmark = [pytest.mark.triton, pytest.mark.slow]
CLIENTS, SECONDS = 64, 60.0
POOL = noise_rows(64, 11, 16)


class Client:
    """One closed-loop gRPC client: sends the next request as soon as the last is answered."""

    def __init__(self, number, url, expected):
        self.rng = np.random.default_rng(number)
        self.client = grpc.InferenceServerClient(url)
        self.expected = expected  # by exit, votes of POOL's rows
        self.good = self.bad = self.cancelled = 0
        self.complaints = []

    def run(self, end):
        kinds = [
            self.ask,
            self.ask,
            self.ask,
            self.ask,
            self.wrong_dtype,
            self.wrong_shape,
            self.wrong_name,
            self.cancel,
        ]
        # on a busy machine a client goes on until it has had each kind
        while time.monotonic() < end or (not self.served and time.monotonic() < end + 80):
            kinds[self.rng.integers(len(kinds))]()
        self.client.close()

    @property
    def served(self):
        return bool(self.good and self.bad and self.cancelled)

    def ask(self):
        indices = self.rng.integers(0, len(POOL), self.rng.integers(1, 17))
        wish = {"exit": "never"} if self.rng.random() < 0.3 else None
        result = self.client.infer("tiny", [image_input(POOL[indices])], parameters=wish, client_timeout=60)
        for row, exit_, vote in zip(
            indices, result.as_numpy("EXIT")[:, 0], result.as_numpy("PROBABILITIES"), strict=True
        ):
            if not np.allclose(vote, self.expected[exit_][row], rtol=1e-3, atol=1e-5):
                self.complaints.append(f"row {row} left at exit {exit_} with another row's vote")
        self.good += 1

    def refused(self, tensor, *words):
        try:
            self.client.infer("tiny", [tensor])
            self.complaints.append(f"{words} was answered")
        except InferenceServerException as error:
            self.bad += 1
            if not all(word in str(error) for word in words):
                self.complaints.append(f"expected {words} in: {error}")

    def wrong_dtype(self):
        tensor = grpc.InferInput("IMAGE", [2, 1, 16, 16], "INT64")
        tensor.set_data_from_numpy(np.zeros((2, 1, 16, 16), np.int64))
        self.refused(tensor, "IMAGE", "expects 'FP32'")

    def wrong_shape(self):
        self.refused(image_input(np.zeros((2, 1, 8, 8), np.float32)), "IMAGE", "[-1,1,16,16]")

    def wrong_name(self):
        self.refused(image_input(POOL[:2], "PICTURE"), "PICTURE")

    def cancel(self):
        over = threading.Event()
        call = self.client.async_infer("tiny", [image_input(POOL[:4])], callback=lambda result, error: over.set())
        time.sleep(float(self.rng.uniform(0, 0.01)))
        call.cancel()
        assert over.wait(60)
        self.cancelled += 1


def image_input(rows, name="IMAGE"):
    tensor = grpc.InferInput(name, list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    return tensor


def test_mixed_traffic_of_64_clients_is_answered_in_order_refused_by_name_and_never_lost(tiny_server, tiny_exported):
    exits = range(len(manifest_of(tiny_exported).exits))
    expected = {exit_: vote_offline(tiny_exported, exit_, POOL) for exit_ in exits}
    clients = [Client(number, tiny_server.grpc_url, expected) for number in range(CLIENTS)]
    end = time.monotonic() + SECONDS
    threads = [threading.Thread(target=client.run, args=(end,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS + 90)
    assert not any(thread.is_alive() for thread in threads), "a client was never answered"
    assert {complaint for client in clients for complaint in client.complaints} == set()
    assert all(client.served for client in clients)
    await_idle(tiny_server)


def test_after_the_traffic_a_lone_request_is_answered_as_before(tiny_server, tiny_exported):
    with controlled(tiny_server, tiny_exported, exits_off="all"):
        outputs = ask(tiny_server, "http", POOL[:3])
    last = len(manifest_of(tiny_exported).exits) - 1
    np.testing.assert_allclose(
        outputs["PROBABILITIES"], vote_offline(tiny_exported, last, POOL[:3]), rtol=1e-4, atol=1e-6
    )
