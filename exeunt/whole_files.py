"""Writing to disk: a file is replaced whole, so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path, *, durably: bool = False, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """A file to write, which takes the place of `path` when the block ends well.

    Args:
        path: of the file.
        durably: the new file is on the disk when the block has ended; else a power failure may bring the old one back.
        mode: rights of the file, less the process's umask.

    Raises:
        OSError: it could not be written; the old file is still there.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            yield file
            if durably:
                file.flush()
                os.fsync(file.fileno())
        fresh.replace(path)
        if durably:
            _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):  # the first error is the one to show
            fresh.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
