"""Asking the exit controllers of a running server to finish what they have before the server is stopped.

    serve  --creates-->  <state_dir>/<content_hash>.drain    the controller refuses newcomers, finishes the rest
    serve  --waits for-  <state_dir>/<content_hash>.drained  nothing is in flight any more

Triton's own SIGTERM refuses the next segment of everything in flight, so it must come after (reference: Triton facts,
section 2.4); the signal itself is caught in container.py and cli/serve.py. The files lie in the state directory
because the repository may be read-only.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from exeunt.errors import ConfigError
from exeunt.hosting.state_files import DRAIN_SUFFIX, DRAINED_SUFFIX

LOCK_SUFFIX = ".lock"
MARGIN_S = 5.0  # beyond drain_s, for a busy controller to notice the request and write its answer


class Drain:
    """The drain files of one bag, and the lock that keeps a second server away from them.

    Args:
        state_dir: folder of the bag's state; made if missing.
        content_hash: Manifest.content_hash.
        drain_s: how long the controller waits for answers in flight.
    """

    def __init__(self, state_dir: Path, content_hash: str, drain_s: float) -> None:
        self.request = state_dir / f"{content_hash}{DRAIN_SUFFIX}"
        self.answer = state_dir / f"{content_hash}{DRAINED_SUFFIX}"
        self.drain_s = drain_s
        self._lock_path = state_dir / f"{content_hash}{LOCK_SUFFIX}"
        self._lock_file: IO[bytes] | None = None

    def acquire(self) -> None:
        """Take the lock, which ends with this process at the latest, and remove what an earlier server left.

        Raises:
            ConfigError: another server uses this state, or the folder cannot be written.
        """
        folder = self._lock_path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock_file = self._lock_path.open("ab")
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.clear()
        except BlockingIOError:
            self.release()
            raise ConfigError(
                f"{self._lock_path}: another server of this bag uses this state_dir; "
                "stop it, or name another --state-dir"
            ) from None
        except OSError as error:
            self.release()
            raise ConfigError(f"{folder}: state_dir cannot be written ({error.strerror}); name another one") from None

    def release(self) -> None:
        """Give the lock back."""
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def ask(self) -> None:
        """Ask the controller to drain."""
        self.request.touch()

    def clear(self) -> None:
        """Remove request and answer."""
        self.request.unlink(missing_ok=True)
        self.answer.unlink(missing_ok=True)


def hold(drains: Iterable[Drain], stack: ExitStack) -> None:
    """Acquire every drain until the stack closes, which also removes their files."""
    for drain in drains:
        drain.acquire()
        stack.callback(drain.release)
        stack.callback(drain.clear)


def drain_all(drains: Iterable[Drain], alive: Callable[[], bool]) -> bool:
    """Ask all controllers at once and wait for their answers.

    Args:
        drains: one per bag.
        alive: false once the server has ended.

    Returns:
        True if every controller said that it is empty; False if one did not within its `drain_s` plus MARGIN_S.
    """
    waiting = list(drains)
    for request in waiting:
        request.ask()
    start = time.monotonic()
    while waiting and alive():
        passed_s = time.monotonic() - start
        if any(passed_s > request.drain_s + MARGIN_S for request in waiting):
            return False
        waiting = [request for request in waiting if not os.path.exists(request.answer)]
        time.sleep(0.02)
    return not waiting
