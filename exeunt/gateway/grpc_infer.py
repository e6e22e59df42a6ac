"""Inference over gRPC: a message is parsed, waits at its bag's door, and is sent on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from exeunt.deciding.request import parse_options
from exeunt.errors import ExeuntError, OverloadedError
from exeunt.gateway.door import Door
from exeunt.gateway.grpc_messages import parameters_of, parsed, rows_of, set_parameters, stream_error
from exeunt.gateway.grpc_upstream import Upstream, metadata_of
from exeunt.gateway.parameters import ClassRule, after_waiting, passed_on
from exeunt.gateway.public_models import PublicModels

SERVICE = "/inference.GRPCInferenceService/"
INFER, STREAM_INFER = SERVICE + "ModelInfer", SERVICE + "ModelStreamInfer"
Context = Any  # grpc.aio.ServicerContext, which has no types


class Inference:
    """ModelInfer and ModelStreamInfer."""

    def __init__(self, models: PublicModels, upstream: Upstream, class_rule: ClassRule) -> None:
        self._models = models
        self._upstream = upstream
        self._class_rule = class_rule

    async def infer(self, content: bytes, context: Context) -> bytes:
        """One request, one answer."""
        remaining_s = context.time_remaining()
        if (
            remaining_s is not None and remaining_s <= 0
        ):  # under a storm most: the less they cost, the better for others
            raise OverloadedError("its caller's deadline had passed when the gateway came to it")
        call = self._call(parsed(pb.ModelInferRequest, content), context)
        turn, waited_us = await call.door.enter(call.rows, call.options, call.leaves_us)
        return await asyncio.shield(call.door.send(turn, self._send(call, waited_us), lambda _: True))

    async def _send(self, call: _Call, waited_us: int) -> bytes:
        return await self._upstream.infer(INFER, call.content(waited_us), call.metadata)

    async def stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """Any number of requests, each with any number of responses, which are matched by their ids.

        Each is sent to the server on a stream of its own, whose end says that all of its responses are there.
        """
        writing = asyncio.Lock()

        async def write(response: bytes) -> None:
            async with writing:
                await context.write(response)

        async with asyncio.TaskGroup() as group:
            async for content in requests:
                group.create_task(self._one_of_a_stream(content, context, write))

    async def _one_of_a_stream(self, content: bytes, context: Context, write: Any) -> None:
        request_id = ""
        try:
            request = parsed(pb.ModelInferRequest, content)
            request_id = request.id
            call = self._call(request, context)
            turn, waited_us = await call.door.enter(call.rows, call.options, call.leaves_us)
            responses: asyncio.Queue[bytes | None] = asyncio.Queue()
            task = call.door.send(turn, self._gather(call, waited_us, responses), lambda _: False)
            while (response := await responses.get()) is not None:
                await write(response)
            await task
        except ExeuntError as error:
            await write(stream_error(request_id, str(error)))
        except grpc.aio.AioRpcError as error:
            await write(stream_error(request_id, error.details() or error.code().name))

    async def _gather(self, call: _Call, waited_us: int, to: asyncio.Queue[bytes | None]) -> None:
        """Take all responses to a request, whether or not its caller is still there; None says that it was the last."""
        try:
            async for response in self._upstream.stream(STREAM_INFER, call.content(waited_us), call.metadata):
                to.put_nowait(response)
        finally:
            to.put_nowait(None)

    def _call(self, request: Any, context: Context) -> _Call:
        """Raises ExeuntError for what is not let through."""
        return _Call(
            request,
            self._models.door(request.model_name),
            metadata_of(context),
            self._class_rule,
            context.time_remaining(),
        )


class _Call:
    """A request that may be let in.

    Attributes:
        door: its bag's.
        metadata: that are passed on.
        rows: that it says it brings.
        options: what it asks for.
        leaves_us: after which its caller is gone; 0 = unknown.
    """

    def __init__(
        self, request: Any, door: Door, metadata: Any, class_rule: ClassRule, remaining_s: float | None
    ) -> None:
        self.door = door
        self.metadata = metadata
        self.rows = rows_of(request)
        service_class = class_rule.of(dict(metadata))
        self._request = request
        self._table, self.leaves_us = passed_on(parameters_of(request), service_class, remaining_s)
        self.options = parse_options(self._table, door.settings, self.leaves_us)  # as the controller will

    def content(self, waited_us: int) -> bytes:
        """The message for the server: what was parsed, with what the gateway sets."""
        set_parameters(self._request, after_waiting(self._table, self.options, waited_us))
        return bytes(self._request.SerializeToString())
