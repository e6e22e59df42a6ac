"""The blocking client, over gRPC or HTTP, safe to share between threads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError
from tritonclient import grpc, http

from exeunt_client.answers import Answer, Answers
from exeunt_client.options import NO_OPTIONS, RequestOptions
from exeunt_client.protocol import Inputs, Signature, decode
from exeunt_client.shared import BaseClient
from exeunt_client.streaming import HEADERS, Part, part_of


class Client(BaseClient):
    """Asks one model of a server.

    with Client("grpc://127.0.0.1:8001", "digits") as client:
        answer = client.ask(image)                             # image: [1, 32, 32] float32, no batch
        answers = client.infer(images, RequestOptions(deadline_ms=20))  # images: [rows, 1, 32, 32]

    Args:
        url: `grpc://HOST:PORT` or `http://HOST:PORT` (`grpcs`, `https` with TLS).
        model: the public model, NAME; a plain ensemble or member does as well.
        labels: label names by label; by default those that the server tells.
        timeout_s: longest wait for one reply, in seconds.

    Raises:
        RequestError: a bad url, no such model, or not one label for each class, on construction.
        ServingError: no server answers there.
    """

    http_errors = (HTTPParseError, OSError)

    def __init__(self, url: str, model: str, labels: Sequence[str] | None = None, timeout_s: float = 60.0) -> None:
        super().__init__(url, model, labels, timeout_s)
        self._local = threading.local()  # tritonclient's HTTP client is bound to the thread that made it
        self._shared = self._grpc() if self._speaks_grpc else None
        try:
            with self._translated():
                self.signature = self._describe()
            self._labels = self.signature.names(self._given_labels)
        except BaseException:
            self.close()  # nobody else can: the garbage collector would, in whatever thread it runs
            raise

    def infer(self, inputs: Inputs, options: RequestOptions = NO_OPTIONS) -> Answers:
        """Answer a batch.

        Args:
            inputs: [rows, ...] array, or name -> array for models of several inputs.
            options: what the request asks of the exits.

        Raises:
            RequestError: the inputs or options do not fit the model.
            OverloadedError: the server takes no newcomers now.
            ServingError: the server failed or cannot be reached.
        """
        named = self.signature.named(inputs)
        with self._translated():
            result = self._connection().infer(**self._request(named, self.signature, options))
        return Answers.from_outputs(decode(result, self.signature.outputs), self._labels)

    def ask(self, inputs: Inputs, options: RequestOptions = NO_OPTIONS) -> Answer:
        """Answer one row: `inputs` as for `infer`, without the batch dimension; the same errors."""
        if isinstance(inputs, np.ndarray):
            return self.infer(inputs[None], options)[0]
        return self.infer({name: array[None] for name, array in inputs.items()}, options)[0]

    def stream(self, inputs: Inputs, options: RequestOptions = NO_OPTIONS) -> Iterator[Part]:
        """Answer a batch in parts, each as soon as its rows have left: easy rows need not wait for hard ones.

        for part in client.stream(images):
            for row, answer in zip(part.rows, part.answers):
                ...

        Needs gRPC, and a bag that was exported with `stream = true` in `[serving]`. Leaving the loop early cancels.

        Args:
            inputs: [rows, ...] array, or name -> array for models of several inputs.
            options: what the request asks of the exits.

        Yields:
            every row exactly once.

        Raises:
            RequestError: the inputs or options do not fit the model, or the server has no stream of it.
            OverloadedError: the server takes no newcomers now.
            ServingError: the server failed or cannot be reached; rows that came before are right.
        """
        request = self._stream_request(self.signature.named(inputs), self.signature, options)
        responses: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        connection = self._grpc()  # tritonclient has one stream for each connection
        try:
            with self._translated():
                connection.start_stream(
                    lambda result, error: responses.put((result, error)), self._timeout_s, headers=HEADERS
                )
                connection.async_stream_infer(**request)
            last = False
            while not last:
                result, error = responses.get()
                with self._translated():
                    if error is not None:
                        raise error
                part, last = part_of(result, self.signature.outputs, self._labels)
                if part is not None:
                    yield part
        finally:
            connection.stop_stream(cancel_requests=True)
            connection.close()

    def close(self) -> None:
        """Give up the connections of this thread; those of other threads close when their threads end."""
        if self._shared is not None:
            self._shared.close()
        connection = self._local.__dict__.pop("connection", None)
        if connection is not None:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _grpc(self) -> Any:
        return grpc.InferenceServerClient(self._address.host, ssl=self._address.tls)

    def _connection(self) -> Any:
        if self._shared is not None:
            return self._shared
        if not hasattr(self._local, "connection"):
            self._local.connection = http.InferenceServerClient(
                self._address.host,
                ssl=self._address.tls,
                connection_timeout=self._timeout_s,
                network_timeout=self._timeout_s,
            )
        return self._local.connection

    def _describe(self) -> Signature:
        connection = self._connection()
        metadata = connection.get_model_metadata(self._model, **self._as_json)
        return Signature.from_server(metadata, connection.get_model_config(self._model, **self._as_json))

    @staticmethod
    def _is_no_http(error: Exception) -> bool:
        return isinstance(error, HTTPParseError) and not isinstance(error, HTTPConnectionClosed)
