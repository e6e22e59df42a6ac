"""What the gateway itself says no to: an error with its words in either protocol, and who must act."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from exeunt.errors import ExeuntError, OverloadedError, RequestError


class RefusalError(ExeuntError):
    """A call that the gateway does not let through.

    Attributes:
        http_status: of the answer over HTTP.
        grpc_code: name of a `grpc.StatusCode`.
    """

    http_status = HTTPStatus.BAD_REQUEST
    grpc_code = "INVALID_ARGUMENT"


class NotPublicError(RefusalError):
    """A model that is internal, or not there: the two are not told apart."""

    http_status = HTTPStatus.NOT_FOUND
    grpc_code = "NOT_FOUND"

    def __init__(self, name: str, public: Iterable[str]) -> None:
        super().__init__(f"model {name[:100]!r} is not public here; the caller may ask {', '.join(public)}")


class ClosedError(RefusalError):
    """A part of the protocol that is for operators."""

    http_status = HTTPStatus.FORBIDDEN
    grpc_code = "UNIMPLEMENTED"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what[:100]} is closed at this gateway; the server's operator may ask the server itself")


class TooLargeError(RefusalError):
    """A body beyond the bound."""

    http_status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    grpc_code = "RESOURCE_EXHAUSTED"


class NoServerError(RefusalError):
    """The server behind the gateway does not answer."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE
    grpc_code = "UNAVAILABLE"

    def __init__(self) -> None:
        super().__init__("the server behind this gateway cannot be reached; its operator must see to it")


def http_status(error: ExeuntError) -> int:
    """Status over HTTP of any error of ours."""
    if isinstance(error, RefusalError):
        return error.http_status
    if isinstance(error, OverloadedError):
        return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.BAD_REQUEST if isinstance(error, RequestError) else HTTPStatus.INTERNAL_SERVER_ERROR


def grpc_code(error: ExeuntError) -> str:
    """Name of the `grpc.StatusCode` of any error of ours."""
    if isinstance(error, RefusalError):
        return error.grpc_code
    if isinstance(error, OverloadedError):
        return "UNAVAILABLE"
    return "INVALID_ARGUMENT" if isinstance(error, RequestError) else "INTERNAL"
