"""Read the weights from disk while the server's other parts start.

On a host that has not served the bag before, weights come from disk when the exit controller asks for them, which is
the last thing that a start does: Triton, Python and the packages come first, and the disk waits. So the system is asked
for all weights at the beginning. Where the files are in memory already, this costs a millisecond.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

WEIGHTS = (".data", ".onnx", ".plan")


def read_ahead(repository: Path) -> threading.Thread:
    """Ask for the weights of every model of a repository, in a thread that nobody needs to wait for."""
    thread = threading.Thread(target=_ask, args=(repository,), name="read-ahead", daemon=True)
    thread.start()
    return thread


def _ask(repository: Path) -> None:
    for path in sorted(repository.rglob("*")):
        if path.suffix in WEIGHTS:
            with contextlib.suppress(OSError):  # whoever loads it says what is wrong with a file
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
                finally:
                    os.close(descriptor)
