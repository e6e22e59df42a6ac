"""Learnt state on disk: one file per bag in `state_dir`, keyed by the manifest's hash, replaced atomically.

The format is .npz without pickles: arrays as they are, everything else as JSON under the key `_`. A reader sees the old
file or the new one, never half of one.
"""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

SCHEMA_VERSION = 1


class StateFile:
    """Where one bag's learnt state is kept.

    Args:
        state_dir: folder, made if missing when something is saved.
        content_hash: Manifest.content_hash.
    """

    def __init__(self, state_dir: Path, content_hash: str) -> None:
        self.path = state_dir / f"{content_hash}.npz"

    def save(self, state: dict[str, Any], *, tuner: str, clean: bool) -> None:
        """Replace the file.

        Args:
            state: numbers, strings, lists of them, and numpy arrays by name.
            tuner: name of the tuner the state belongs to.
            clean: True only for the last save of an orderly stop.

        Raises:
            OSError: disk full, folder not writable; the old file is still there.
        """
        arrays = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
        rest = {key: value for key, value in state.items() if key not in arrays}
        head = json.dumps({"schema_version": SCHEMA_VERSION, "tuner": tuner, "clean": clean, "state": rest})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(f".{os.getpid()}.tmp")
        try:
            with fresh.open("wb") as file:
                np.savez(file, _=np.array(head), **arrays)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise

    def load(self, tuner: str) -> tuple[dict[str, Any], bool] | None:
        """The saved state and whether it was saved by an orderly stop; None where there is none for this tuner.

        Raises:
            ValueError: the file is damaged or of another version; the message names it and says why.
            OSError: it cannot be read.
        """
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                head = json.loads(str(stored["_"]))
                arrays = {name: stored[name] for name in stored.files if name != "_"}
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
            raise ValueError(f"{self.path}: damaged state file: {error}") from None
        if not isinstance(head, dict) or head.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"{self.path}: written by another version of exeunt")
        if head["tuner"] != tuner:
            return None
        return head["state"] | arrays, bool(head["clean"])
