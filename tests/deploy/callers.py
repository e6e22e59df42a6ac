"""Callers over both protocols who ask one address all the time and note what went wrong."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing

import numpy as np
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

PATIENCE_S = 60


class Callers:
    """Threads that ask `tiny` for one row after the other until `stop`.

    Args:
        http_url: "HOST:PORT".
        grpc_url: "HOST:PORT".
        row: [1, ...] float32 input IMAGE.
        of_each: callers over each protocol; those over gRPC share one connection, those over HTTP keep one each.

    Attributes:
        answered: by protocol, how many.
        failed: by protocol, what the callers were told instead.
    """

    def __init__(self, http_url: str, grpc_url: str, row: np.ndarray, of_each: int = 3) -> None:
        self.answered = {"http": 0, "grpc": 0}
        self.failed: dict[str, list[str]] = {"http": [], "grpc": []}
        self._row, self._ends = row, threading.Event()
        self._lock = threading.Lock()
        self._connections = ExitStack()
        self._channel = self._connections.enter_context(closing(grpc.InferenceServerClient(grpc_url)))
        calls = [*(self._over_grpc() for _ in range(of_each)), *(self._over_http(http_url) for _ in range(of_each))]
        kinds = ["grpc"] * of_each + ["http"] * of_each
        self._threads = [threading.Thread(target=self._run, args=pair) for pair in zip(kinds, calls, strict=True)]
        for thread in self._threads:
            thread.start()

    def _over_grpc(self) -> Callable[[], None]:
        tensor = grpc.InferInput("IMAGE", list(self._row.shape), "FP32")
        tensor.set_data_from_numpy(self._row)
        return lambda: self._channel.infer("tiny", [tensor], client_timeout=PATIENCE_S).as_numpy("LABEL")

    def _over_http(self, url: str) -> Callable[[], None]:
        # the standard library's client: tritonclient's runs on gevent, which knows nothing of threads
        connection = self._connections.enter_context(closing(http.client.HTTPConnection(url, timeout=PATIENCE_S)))
        tensor = {"name": "IMAGE", "datatype": "FP32", "shape": self._row.shape, "data": self._row.ravel().tolist()}
        body = json.dumps({"inputs": [tensor]}).encode()

        def ask() -> None:
            try:
                connection.request("POST", "/v2/models/tiny/infer", body)
                response = connection.getresponse()
                text = response.read()
            except (OSError, http.client.HTTPException):
                connection.close()  # the next request makes a new one
                raise
            if response.status != 200:
                raise OSError(f"status {response.status}: {text.decode(errors='replace')[:200]}")
            assert "LABEL" in text.decode()

        return ask

    def _run(self, kind: str, ask: Callable[[], None]) -> None:
        while not self._ends.is_set():
            try:
                ask()
            except (InferenceServerException, OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.failed[kind].append(f"{type(error).__name__}: {error}")
                continue
            with self._lock:
                self.answered[kind] += 1

    def total(self) -> int:
        """Answers over both protocols so far."""
        return sum(self.answered.values())

    def failures(self) -> list[str]:
        """What was told over both."""
        return [f"{kind}: {text}" for kind, texts in self.failed.items() for text in texts]

    def __enter__(self) -> Callers:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()
        self._connections.close()
