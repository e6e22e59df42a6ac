"""Arrays with a header in one .npz file without pickles: learnt state, heads, rows, jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from exeunt.whole_files import replacing

PRIVATE = 0o600  # they tell what callers' inputs were answered with


def save_arrays(file: IO[bytes] | Path, head: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays with a header, which is kept as JSON."""
    np.savez(file, _=np.array(json.dumps(dict(head))), **arrays)


def load_arrays(file: IO[bytes]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays that `save_arrays` wrote.

    Raises:
        ValueError, KeyError, OSError, zipfile.BadZipFile: it is not whole.
    """
    with np.load(file, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return json.loads(str(arrays.pop("_"))), arrays


def write_private(path: Path, head: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Replace such a file durably, readable by its owner only; its folder is made.

    Raises:
        OSError: it could not be written; the old file is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durably=True, mode=PRIVATE) as file:
        save_arrays(file, head, arrays)
