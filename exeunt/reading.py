"""Reading back what was written to disk: whatever is wrong with it becomes one error that names the file.

A file may have been cut off, changed by hand, or made by somebody who means harm. Python's parsers raise a dozen kinds
of errors then (RecursionError for nested JSON, zlib.error, struct.error, MemoryError, ...), and a thread that does not
expect one dies of it.
"""

from __future__ import annotations

import dataclasses
import json
import types
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from exeunt.errors import ConfigError, ExeuntError

MOST_JSON_BYTES = 64 * 2**20


def unprintable(text: str) -> bool:
    """Whether a name holds line breaks or control characters: Triton's label files and logs would break there."""
    return any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text)


@contextmanager
def reading(path: Path | str, what: str) -> Iterator[None]:
    """Turn every error inside the block into a ConfigError that names the file; our own errors pass.

    Args:
        path: the file that is read, or the name of another place.
        what: what it should be, "state file".

    Raises:
        ConfigError: the block raised something; FileNotFoundError becomes "no such file".
    """
    try:
        yield
    except ExeuntError:
        raise
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # an edge: the content is a stranger's
        text = str(error)[:200] or type(error).__name__
        raise ConfigError(f"{path}: not a good {what}: {text}") from None


def read_json_table(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ConfigError: no such file, too large, not JSON, or not an object.
    """
    with reading(path, what):
        with path.open("rb") as file:
            content = file.read(MOST_JSON_BYTES + 1)
        if len(content) > MOST_JSON_BYTES:
            raise ConfigError(f"{path}: more than {MOST_JSON_BYTES >> 20} MiB, too large for a {what}")
        table = json.loads(content.decode("utf-8"))
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: expected a JSON object, got {type(table).__name__}")
    return table


def from_plain(kind: Any, value: Any) -> Any:
    """A value of type `kind` that was written as JSON, where all is tables, lists, texts and numbers.

    Args:
        kind: a dataclass, `tuple[X, ...]`, `dict[K, V]`, `X | None`, or a type that JSON knows.
        value: as read. Keys of a table that are no fields are left out; fields that it lacks take their defaults.

    Raises:
        TypeError, ValueError, AttributeError: it cannot be such a value.
    """
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if isinstance(value, kind):
            return value
        return kind(**{name: from_plain(hint, value[name]) for name, hint in _hints(kind).items() if name in value})
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple:
        return tuple(from_plain(inner[0], part) for part in value)
    if origin is dict:
        return {inner[0](key): from_plain(inner[1], part) for key, part in value.items()}
    if origin is types.UnionType:
        return None if value is None else from_plain(inner[0], value)
    return kind(value) if kind in (int, float) else value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
