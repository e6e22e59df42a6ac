"""Reading back what was written to disk: whatever is wrong with it becomes one error that names the file.

A file may have been cut off, changed by hand, or made by somebody who means harm. Python's parsers raise a dozen kinds
of errors then (RecursionError for nested JSON, zlib.error, struct.error, MemoryError, ...), and a thread that does not
expect one dies of it.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
