"""Which paths the gateway has over HTTP.

A path is taken letter by letter as it came: one with escapes, doubled slashes or other letters is none of these. What
the server gets is written anew from what was read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

from exeunt.errors import ExeuntError
from exeunt.gateway.refusal_errors import ClosedError, RefusalError

_SERVER = {"/v2", "/v2/health/live", "/v2/health/ready"}
_MODEL = re.compile(
    r"/v2/models/(?P<name>[A-Za-z0-9_.-]+)(?:/versions/(?P<version>[0-9]{1,18}))?(?:/(?P<verb>ready|config|stats|infer))?"
)
# the protocol's other parts, and Triton's: operators' all of them
_CLOSED = re.compile(
    r"/v2/(repository|systemsharedmemory|cudasharedmemory|trace|logging|models/stats|models/[^/]+/(trace|generate)).*"
)


class NoPathError(RefusalError):
    """A path or method that the gateway does not have."""

    http_status = HTTPStatus.NOT_FOUND
    grpc_code = "UNIMPLEMENTED"


@dataclass(frozen=True, slots=True)
class Target:
    """What a call is about.

    Attributes:
        path: as the server is asked.
        model: "" for the server as a whole.
        verb: "infer", "config", ...; "" for metadata.
    """

    path: str
    model: str = ""
    verb: str = ""


def target_of(method: str, raw: str) -> Target:
    """What a request's first line asks for; its query is left out, since the server knows none.

    Raises:
        ClosedError: a part of the protocol that is for operators.
        NoPathError: no path of the protocol, or another method than it has.
    """
    path = raw.partition("?")[0]
    if path in _SERVER:
        return Target(_with_method(path, "", method))
    if _CLOSED.fullmatch(path):
        raise ClosedError(path)
    if not (match := _MODEL.fullmatch(path)):
        raise _no_path(method, path)
    name, version, verb = match["name"], match["version"], match["verb"] or ""
    built = f"/v2/models/{name}" + (f"/versions/{version}" if version else "") + (f"/{verb}" if verb else "")
    return Target(_with_method(built, verb, method), name, verb)


def _with_method(path: str, verb: str, method: str) -> str:
    if method != ("POST" if verb == "infer" else "GET"):
        raise _no_path(method, path)
    return path


def _no_path(method: str, path: str) -> ExeuntError:
    return NoPathError(f"{method[:20]} {path[:100]}: the caller asks for what the protocol does not have")
