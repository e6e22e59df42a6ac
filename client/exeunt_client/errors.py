"""What a client raises: errors that say who must act.

ClientError
  RequestError      the caller: an input, what was expected, what came
  OverloadedError   the caller, later: the server refuses newcomers for now
  ServingError      the server: it did not do its work, or cannot be reached
"""

from __future__ import annotations

from typing import ClassVar


class ClientError(Exception):
    """Base of every error that a client raises on purpose.

    Attributes:
        exit_code: exit status for command lines (sysexits.h).
    """

    exit_code: ClassVar[int] = 70


class RequestError(ClientError):
    """The request cannot be answered as it is."""

    exit_code = 65


class OverloadedError(ClientError):
    """The server cannot take the request now; come again."""

    exit_code = 75


class ServingError(ClientError):
    """The server failed, or no server answers; the message says which."""

    exit_code = 70
