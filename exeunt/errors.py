"""Errors that say who must act.

ExeuntError
  ConfigError    the operator: a file, a key, a value, and what is allowed
  RequestError   the caller: an input, what was expected, what came
  OverloadedError     the caller, later: the server refuses newcomers for now
  ServingError   us: a model, a server or a backend did not do its work
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import ClassVar


class ExeuntError(Exception):
    """Base of every error that exeunt raises on purpose.

    Attributes:
        triton_code: name of the Triton error code the error maps to (a `pb_utils.TritonError` constant).
        exit_code: exit status of the command line (sysexits.h).
    """

    triton_code: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 70


class ConfigError(ExeuntError):
    """The operator must change a file, a key or an option."""

    triton_code = "INVALID_ARG"
    exit_code = 78


class RequestError(ExeuntError):
    """The caller sent something that no model here can answer."""

    triton_code = "INVALID_ARG"
    exit_code = 65


class OverloadedError(ExeuntError):
    """The server cannot take the request now; the caller may come again."""

    triton_code = "UNAVAILABLE"
    exit_code = 75


class ServingError(ExeuntError):
    """A model, a server or a backend failed; the message says which."""

    triton_code = "INTERNAL"
    exit_code = 70


def unknown(what: str, name: object, allowed: Iterable[str], where: str) -> ConfigError:
    """A ConfigError for a name that is not among the allowed ones, with the nearest one as a hint.

    Args:
        what: kind of thing, "key" or "tuner".
        name: what was found.
        allowed: every name that would do.
        where: file and section it was found in.

    Returns:
        the error, to be raised by the caller.
    """
    import difflib  # here: every process imports this file, and few find an error

    names = sorted(allowed)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"{where}: unknown {what} {name!r}{hint} (allowed: {', '.join(names)})")


def check_known(what: str, name: object, allowed: Collection[str], where: str) -> None:
    """Raise the ConfigError of `unknown` unless a name is among the allowed ones."""
    if name not in allowed:
        raise unknown(what, name, allowed, where)
