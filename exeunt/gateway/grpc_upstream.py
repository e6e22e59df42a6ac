"""The server behind the gateway, over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from exeunt.gateway.refusal_errors import NoServerError
from exeunt.serving.launch import ADMIN_HEADER

# gRPC sets the first three for every hop; no caller may send the key of the server's closed APIs
_NOT_PASSED = ("user-agent", "content-type", "te", f"triton-grpc-protocol-{ADMIN_HEADER}")
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),  # reconnect soon to a restarted server
    ("grpc.use_local_subchannel_pool", 1),
]


class Upstream:
    """The one channel to the server. To be used from one event loop.

    Args:
        address: "HOST:PORT".
    """

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._unary: dict[str, Any] = {}

    async def call(self, method: str, content: bytes, context: Any) -> bytes:
        """A call other than inference. Like `infer` it runs to its end in the server, even if its caller has left.

        Raises:
            NoServerError: the server cannot be reached.
            grpc.aio.AioRpcError: its error.
        """
        task = asyncio.get_running_loop().create_task(self.infer(method, content, metadata_of(context)))
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # where nobody else looks at it
        return await asyncio.shield(task)

    async def infer(self, method: str, content: bytes, metadata: Any) -> bytes:
        """One message for one message; errors as in `call`."""
        if method not in self._unary:
            self._unary[method] = self._channel.unary_unary(method)
        try:
            return bytes(await self._unary[method](content, metadata=metadata))
        except grpc.aio.AioRpcError as error:
            raise _reached(error) from None

    async def stream(self, method: str, content: bytes, metadata: Any) -> AsyncIterator[bytes]:
        """The responses to one message that is sent on a stream of its own; errors as in `call`."""
        try:
            async for response in self._channel.stream_stream(method)(iter([content]), metadata=metadata):
                yield response
        except grpc.aio.AioRpcError as error:
            raise _reached(error) from None

    async def close(self) -> None:
        """End the channel."""
        await self._channel.close()


def metadata_of(context: Any) -> tuple[tuple[str, Any], ...]:
    """The caller's metadata, as they are passed on."""
    return tuple(
        (key, value)
        for key, value in context.invocation_metadata() or ()
        if key not in _NOT_PASSED and not key.startswith(("grpc-", ":"))
    )


def _reached(error: Any) -> Exception:
    """The server's own error, or that it cannot be reached, which gRPC says with addresses that are ours alone."""
    if error.code() == grpc.StatusCode.UNAVAILABLE and "connect" in (error.details() or "").lower():
        return NoServerError()
    return error
