"""The gateway over gRPC: which methods it has, and how a call's errors are told.

A call is parsed as protobuf and what was parsed is sent on, so that the server reads what was looked at here: fields
may come in any order, and of a field that comes twice the last counts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from exeunt.errors import ExeuntError
from exeunt.gateway.grpc_infer import INFER, SERVICE, STREAM_INFER, Context, Inference
from exeunt.gateway.grpc_messages import parsed, without_steps
from exeunt.gateway.grpc_upstream import Upstream
from exeunt.gateway.parameters import ClassRule
from exeunt.gateway.public_models import PublicModels
from exeunt.gateway.refusal_errors import ClosedError, grpc_code

HEALTH = "/grpc.health.v1.Health/Check"
# of the server as a whole: passed on as they come
PLAIN = {HEALTH, *(SERVICE + name for name in ("ServerLive", "ServerReady", "ServerMetadata"))}
# of one model: passed on where that is public
CONFIG = SERVICE + "ModelConfig"
OF_A_MODEL = {
    SERVICE + "ModelReady": pb.ModelReadyRequest,
    SERVICE + "ModelMetadata": pb.ModelMetadataRequest,
    SERVICE + "ModelStatistics": pb.ModelStatisticsRequest,
    CONFIG: pb.ModelConfigRequest,
}


class GrpcSide(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """What the gateway answers over gRPC."""

    def __init__(self, models: PublicModels, upstream: Upstream, class_rule: ClassRule) -> None:
        self._models = models
        self._upstream = upstream
        self._inference = Inference(models, upstream, class_rule)

    def service(self, details: Any) -> Any:
        """The handler of a method. Every method has one; that of most says that it is closed."""
        method = str(details.method)
        if method == INFER:
            return _unary(self._inference.infer)
        if method == STREAM_INFER:
            return grpc.stream_stream_rpc_method_handler(self._inference.stream)
        if method in PLAIN:
            return _unary(lambda content, context: self._upstream.call(method, content, context))
        if method in OF_A_MODEL:
            return _unary(lambda content, context: self._of_a_model(method, content, context))

        async def closed(_requests: AsyncIterator[bytes], context: Context) -> None:
            await _refuse(context, ClosedError(method.rpartition("/")[2]))

        return grpc.stream_stream_rpc_method_handler(closed)

    async def _of_a_model(self, method: str, content: bytes, context: Context) -> bytes:
        request = parsed(OF_A_MODEL[method], content)
        self._models.door(request.name)
        answer = await self._upstream.call(method, request.SerializeToString(), context)
        return without_steps(answer) if method == CONFIG else answer


def _unary(answer: Callable[[bytes, Context], Awaitable[bytes]]) -> Any:
    async def handler(content: bytes, context: Context) -> bytes:
        try:
            return await answer(content, context)
        except ExeuntError as error:
            await _refuse(context, error)
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "", error.trailing_metadata() or ())
        raise AssertionError("abort raises")

    return grpc.unary_unary_rpc_method_handler(handler)


async def _refuse(context: Context, error: ExeuntError) -> None:
    await context.abort(getattr(grpc.StatusCode, grpc_code(error)), str(error))
