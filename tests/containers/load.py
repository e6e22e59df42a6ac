"""Clients that ask the digits bag again and again, over gRPC, and note what became of every request."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from tritonclient import grpc, http

from tests.containers.compose import GRPC, HTTP, Project

BAG, INPUT = "digits", "image"
ANSWERED = "answered"


def exported_stream(project: Project) -> np.ndarray:
    """float32 [rows, 1, 32, 32]: the images that the export wrote beside the repository, for load tests."""
    with np.load(f"{project.models()}/replay.npz") as arrays:
        return arrays[INPUT]


def ask_grpc(rows: np.ndarray, **parameters: str) -> grpc.InferResult:
    """One request."""
    with grpc.InferenceServerClient(GRPC) as client:
        return client.infer(BAG, [_tensor(grpc, rows)], parameters=parameters or None)


def ask_http(rows: np.ndarray, **parameters: str) -> http.InferResult:
    """One request."""
    with http.InferenceServerClient(HTTP) as client:
        return client.infer(BAG, [_tensor(http, rows)], parameters=parameters or None)


@contextmanager
def load(rows: np.ndarray, clients: int) -> Iterator[Counter[str]]:
    """So many clients that ask row after row until the block ends; what became of their requests, by status."""
    outcomes: Counter[str] = Counter()
    stop = threading.Event()

    def ask_on(first: int) -> None:
        number = first
        with grpc.InferenceServerClient(GRPC) as client:
            while not stop.is_set():
                row = rows[number % len(rows)][None]
                number += clients
                try:
                    client.infer(BAG, [_tensor(grpc, row)], client_timeout=60)
                    outcomes[ANSWERED] += 1
                except grpc.InferenceServerException as error:
                    outcomes[str(error.status())] += 1
                    stop.wait(0.01)

    threads = [threading.Thread(target=ask_on, args=(first,)) for first in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        stop.set()
        for thread in threads:
            thread.join(90)


def _tensor(protocol, rows: np.ndarray):
    tensor = protocol.InferInput(INPUT, list(rows.shape), "FP32")
    tensor.set_data_from_numpy(np.ascontiguousarray(rows))
    return tensor
