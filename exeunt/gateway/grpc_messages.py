"""What the gateway reads of, and changes in, the protocol's protobuf messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from exeunt.gateway.parameters import OURS
from exeunt.gateway.refusal_errors import RefusalError


def parsed(kind: Any, content: bytes) -> Any:
    """A message; of a field that comes twice the last counts, as it does for the server.

    Raises:
        RefusalError: the bytes are none.
    """
    try:
        return kind.FromString(content)
    except DecodeError:
        raise RefusalError(f"the caller sent bytes that are no {kind.DESCRIPTOR.name}") from None


def rows_of(request: Any) -> int:
    """Rows that a ModelInferRequest says it brings; 1 where it says nothing."""
    return int(request.inputs[0].shape[0]) if request.inputs and request.inputs[0].shape else 1


def parameters_of(request: Any) -> dict[str, Any]:
    """A ModelInferRequest's parameters; None for one without a value."""
    return {
        key: getattr(parameter, kind) if (kind := parameter.WhichOneof("parameter_choice")) else None
        for key, parameter in request.parameters.items()
    }


def set_parameters(request: Any, table: Mapping[str, Any]) -> None:
    """Make a ModelInferRequest's parameters those of a table, as far as the gateway may change them."""
    before = parameters_of(request)
    for key in OURS:
        if key not in table:
            request.parameters.pop(key, None)
        elif key not in before or table[key] != before[key]:
            request.parameters.pop(key, None)
            kind = "string_param" if isinstance(table[key], str) else "int64_param"
            setattr(request.parameters[key], kind, table[key])


def without_steps(content: bytes) -> bytes:
    """A ModelConfigResponse without the names of internal models, which callers cannot reach."""
    response = pb.ModelConfigResponse.FromString(content)
    if response.config.HasField("ensemble_scheduling"):
        response.config.ensemble_scheduling.ClearField("step")  # the rest stays: perf_analyzer looks for it
    return bytes(response.SerializeToString())


def stream_error(request_id: str, text: str) -> bytes:
    """A response of a stream that says what went wrong with one of its requests."""
    response = pb.ModelStreamInferResponse(error_message=text)
    response.infer_response.id = request_id
    return bytes(response.SerializeToString())
