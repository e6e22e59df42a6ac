#!/usr/bin/env python3
"""Fill a volume with the digits bag unless somebody has put a repository there. Run by the export service.

    fill_repository.py /models

writes /models/repository, a Triton model repository, and /models/replay.npz, the demo's stream of test images with
drifting noise, for load tests. The repository is a folder of the volume, not the volume itself: it is made beside its
place and renamed, so that a server sees a whole one or none.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from rich.console import Console

from exeunt.demo.data import drifting_stream
from exeunt.demo.prepare import prepare

SEED = 0
REPLAY_ROWS = 2000


def fill(volume: Path, console: Console) -> Path:
    """Make `volume`/repository if it is not there.

    Returns:
        the repository.
    """
    repository = volume / "repository"
    models = len(list(repository.glob("*/config.pbtxt")))
    if models:
        console.print(f"{repository}: kept, it holds {models} models")
        return repository
    making = volume / ".making"
    shutil.rmtree(making, ignore_errors=True)  # what an interrupted run left
    prepared = prepare(making, making / "weights", SEED, console)
    stream = drifting_stream(prepared.parts.test, REPLAY_ROWS, SEED)
    inputs = {prepared.manifest.inputs[0].name: stream.images}
    np.savez(making / "replay.npz", **inputs)
    (making / "replay.npz").replace(volume / "replay.npz")
    prepared.repository.replace(repository)
    shutil.rmtree(making)
    console.print(f"{repository}: written, {len(list(repository.glob('*/config.pbtxt')))} models")
    return repository


if __name__ == "__main__":
    fill(Path(sys.argv[1]), Console())
