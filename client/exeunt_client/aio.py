"""The asyncio client, over gRPC or HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import aiohttp
import numpy as np
from grpc import RpcError
from tritonclient import grpc, http
from tritonclient.grpc import aio as grpc_aio
from tritonclient.http import aio as http_aio
from tritonclient.utils import InferenceServerException

from exeunt_client.answers import Answer, Answers
from exeunt_client.errors import ServingError
from exeunt_client.options import NO_OPTIONS, RequestOptions
from exeunt_client.protocol import NOT_HTTP, Address, Inputs, Signature, decode, encode, requested, translate
from exeunt_client.streaming import HEADERS, Part, check_grpc, part_of, request_of


class AsyncClient:
    """Asks one model of a server from a coroutine; cancelling the task cancels the request (gRPC).

    async with AsyncClient("grpc://127.0.0.1:8001", "digits") as client:
        answers = await client.infer(images)

    Args:
        url: `grpc://HOST:PORT` or `http://HOST:PORT` (`grpcs`, `https` with TLS).
        model: the public model, NAME; a plain ensemble or member does as well.
        labels: label names by label; by default those that the server tells.
        timeout_s: longest wait for one reply, in seconds.

    Raises:
        RequestError: a bad url.
    """

    def __init__(self, url: str, model: str, labels: Sequence[str] | None = None, timeout_s: float = 60.0) -> None:
        self._address = Address.parse(url)
        self._model = model
        self._timeout_s = timeout_s
        self._what = f"model {model!r} at {url}"
        self._given_labels = labels
        self._labels: tuple[str, ...] = ()
        self._protocol = grpc if self._address.protocol == "grpc" else http
        self._connection: Any = None
        self.signature: Signature | None = None

    async def __aenter__(self) -> Self:
        """Connect and read what the model takes.

        Raises:
            RequestError: no such model, or not one label for each class.
            ServingError: no server answers.
        """
        if self._address.protocol == "grpc":
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
        """Answer a batch.

        Args:
            inputs: [rows, ...] array, or name -> array for models of several inputs.
            options: what the request asks of the exits.

        Raises:
            RequestError: the inputs or options do not fit the model.
            OverloadedError: the server takes no newcomers now.
            ServingError: the server failed or cannot be reached.
        """
        if self.signature is None:
            raise RuntimeError("use the client in `async with`")
        named = self.signature.named(inputs)
        with self._translated():
            result = await self._connection.infer(
                self._model,
                encode(self._protocol, named),
                outputs=requested(self._protocol, self.signature.outputs),
                parameters=options.parameters() or None,
                **({"client_timeout": self._timeout_s} if self._protocol is grpc else {}),
            )
        return Answers.from_outputs(decode(result, self.signature.outputs), self._labels)

    async def ask(self, inputs: Inputs, options: RequestOptions = NO_OPTIONS) -> Answer:
        """Answer one row: `inputs` as for `infer`, without the batch dimension; the same errors."""
        if isinstance(inputs, np.ndarray):
            return (await self.infer(inputs[None], options))[0]
        return (await self.infer({name: array[None] for name, array in inputs.items()}, options))[0]

    async def stream(self, inputs: Inputs, options: RequestOptions = NO_OPTIONS) -> AsyncIterator[Part]:
        """Answer a batch in parts, each as soon as its rows have left: `async for part in client.stream(images)`.

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
        check_grpc(self._address)
        if self.signature is None:
            raise RuntimeError("use the client in `async with`")
        request = request_of(self._model, self.signature.named(inputs), self.signature.outputs, options)

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
                part, last = part_of(result, self.signature.outputs, self._labels)
                if part is not None:
                    yield part
        finally:
            responses.cancel()

    async def _describe(self) -> Signature:
        as_json = {"as_json": True} if self._protocol is grpc else {}
        metadata = await self._connection.get_model_metadata(self._model, **as_json)
        return Signature.from_server(metadata, await self._connection.get_model_config(self._model, **as_json))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except InferenceServerException as error:
            raise translate(error, self._what) from error
        except RpcError as error:  # of a stream
            raise translate(InferenceServerException(error.details(), str(error.code())), self._what) from error
        except aiohttp.ClientResponseError as error:  # tritonclient leaves statuses to us: this is no HTTP at all
            raise ServingError(f"{self._what}: {NOT_HTTP}") from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ServingError(f"{self._what}: no server answers: {error!r}") from error
