"""Learnt state on disk: one file per bag in `state_dir`, keyed by the manifest's hash, replaced atomically.

The format is .npz without pickles: arrays as they are, everything else as JSON under the key `_`. A reader sees the old
file or the new one, never half of one. Only this process may keep the bag's state there while it lives: a lock says so.

What was saved up by an orderly stop may be spent once. So before the first answer leaves, the file is marked as used
(`StateFile.mark_used`), durably; a process that is killed later leaves the mark behind.
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO, Any

import numpy as np

from exeunt.array_files import load_arrays, write_private
from exeunt.errors import ConfigError
from exeunt.reading import reading

SCHEMA_VERSION = 2


class StateFile:
    """Where one bag's learnt state is kept.

    Args:
        state_dir: folder, made if missing when something is saved.
        content_hash: Manifest.content_hash.
    """

    def __init__(self, state_dir: Path, content_hash: str) -> None:
        self.path = state_dir / f"{content_hash}.npz"
        self._hash = content_hash
        self._lock: IO[str] | None = None

    def claim(self) -> None:
        """Keep other processes from this bag's state until this one ends.

        Raises:
            ConfigError: another process has it.
            OSError: the folder cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = self.path.with_suffix(".state.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise ConfigError(
                f"exit.state_dir = {self.path.parent}: another server keeps this bag's state there; give each server a "
                "folder of its own"
            ) from None
        self._lock = lock

    def release(self) -> None:
        """Let other processes have it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def save(self, state: dict[str, Any], *, tuner: str, clean: bool) -> None:
        """Replace the file, durably.

        Args:
            state: numbers, strings, lists of them, and numpy arrays by name.
            tuner: name of the tuner the state belongs to.
            clean: True only for the last save of an orderly stop.

        Raises:
            OSError: disk full, folder not writable; the old file is still there.
        """
        arrays = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
        others = {key: value for key, value in state.items() if key not in arrays}
        head = {"schema_version": SCHEMA_VERSION, "content_hash": self._hash, "tuner": tuner, "clean": clean}
        write_private(self.path, head | {"state": others}, arrays)

    def load(self, tuner: str) -> tuple[dict[str, Any], bool] | None:
        """The saved state and whether it was saved by an orderly stop; None where there is none for this tuner.

        Raises:
            ConfigError: the file is damaged, of another version or another bag, or cannot be read.
        """
        if not self.path.exists():
            return None
        with reading(self.path, "state file"):
            with self.path.open("rb") as file:
                head, arrays = load_arrays(file)
            if head["schema_version"] != SCHEMA_VERSION or head["content_hash"] != self._hash:
                raise ConfigError(f"{self.path}: written by another version of exeunt, or for another bag")
            if head["tuner"] != tuner:
                return None
            return dict(head["state"]) | arrays, head["clean"] is True

    def mark_used(self, state: dict[str, Any], tuner: str) -> None:
        """Write down that what was saved up is being spent, so that it cannot be spent again after a crash.

        Raises:
            OSError: it could not be written; then nothing that was saved up may be spent.
        """
        self.save(state, tuner=tuner, clean=False)
