"""The asyncio client, over gRPC or HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import aiohttp
import numpy as np
from tritonclient.grpc import aio as grpc_aio
from tritonclient.http import aio as http_aio

from exeunt_client.answers import Answer, Answers
from exeunt_client.options import NO_OPTIONS, RequestOptions
from exeunt_client.protocol import Inputs, Signature, decode
from exeunt_client.shared import BaseClient
from exeunt_client.streaming import HEADERS, Part, part_of


class AsyncClient(BaseClient):
    """Asks one model of a server from a coroutine; cancelling the task cancels the request (gRPC).

    async with AsyncClient("grpc://127.0.0.1:8001", "digits") as client:
        answers = await client.infer(images)

    The arguments are those of `exeunt_client.blocking.Client`.
    """

    http_errors = (TimeoutError, aiohttp.ClientError, OSError)
    signature: Signature | None = None
    _connection: Any = None

    async def __aenter__(self) -> Self:
        """Connect and read what the model takes.

        Raises:
            RequestError: no such model, or not one label for each class.
            ServingError: no server answers.
        """
        if self._speaks_grpc:
            self._connection = grpc_aio.InferenceServerClient(self._address.host, ssl=self._address.tls)
        else:
            self._connection = http_aio.InferenceServerClient(
                self._address.host, ssl=self._address.tls, conn_timeout=self._timeout_s
            )
        try:
            with self._translated():
                self.signature = await self._describe()
            self._labels = self.signature.names(self._given_labels)
        except BaseException:
            await self._connection.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._connection.close()

    async def infer(self, inputs: Inputs, options: RequestOptions = NO_OPTIONS) -> Answers:
        """Answer a batch; arguments and errors are those of `Client.infer`."""
        named = self._described().named(inputs)
        with self._translated():
            result = await self._connection.infer(**self._request(named, self._described(), options))
        return Answers.from_outputs(decode(result, self._described().outputs), self._labels)

    async def ask(self, inputs: Inputs, options: RequestOptions = NO_OPTIONS) -> Answer:
        """Answer one row: `inputs` as for `infer`, without the batch dimension; the same errors."""
        if isinstance(inputs, np.ndarray):
            return (await self.infer(inputs[None], options))[0]
        return (await self.infer({name: array[None] for name, array in inputs.items()}, options))[0]

    async def stream(self, inputs: Inputs, options: RequestOptions = NO_OPTIONS) -> AsyncIterator[Part]:
        """Answer a batch in parts, each as soon as its rows have left: `async for part in client.stream(images)`.

        Arguments, errors and what comes are those of `Client.stream`.
        """
        signature = self._described()
        request = self._stream_request(signature.named(inputs), signature, options)

        async def requests() -> AsyncIterator[dict[str, Any]]:
            yield request

        with self._translated():
            responses = self._connection.stream_infer(requests(), stream_timeout=self._timeout_s, headers=HEADERS)
        try:
            last = False
            while not last:
                with self._translated():
                    result, error = await anext(responses)
                    if error is not None:
                        raise error
                part, last = part_of(result, signature.outputs, self._labels)
                if part is not None:
                    yield part
        finally:
            responses.cancel()

    def _described(self) -> Signature:
        if self.signature is None:
            raise RuntimeError("use the client in `async with`")
        return self.signature

    async def _describe(self) -> Signature:
        metadata = await self._connection.get_model_metadata(self._model, **self._as_json)
        return Signature.from_server(metadata, await self._connection.get_model_config(self._model, **self._as_json))

    @staticmethod
    def _is_no_http(error: Exception) -> bool:
        return isinstance(error, aiohttp.ClientResponseError)  # tritonclient leaves statuses to us
