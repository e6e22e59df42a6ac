#!/usr/bin/env python3
"""Fill a volume with the digits bag unless somebody has put a repository there. Run by the export service.

    fill_repository.py /models

writes /models/repository, a Triton model repository, and /models/replay.npz, the demo's stream of test images with
drifting noise, for load tests. The repository is a folder of the volume, not the volume itself: it is made beside its
place and renamed, so that a server sees a whole one or none.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from rich.console import Console

from exeunt.demo.data import drifting_stream
from exeunt.demo.prepare import prepare
from exeunt.manifest_check import MODES
from exeunt.serving.bags import CONFIG_FILE, model_files

SEED = 0
REPLAY_ROWS = 2000


def fill(volume: Path, mode: str, console: Console) -> Path:
    """Make `volume`/repository if it is not there.

    Args:
        volume: folder to fill.
        mode: of the bag, one of MODES.
        console: for progress.

    Returns:
        the repository.
    """
    repository = volume / "repository"
    models = len(model_files(repository, CONFIG_FILE))
    if models:
        console.print(f"{repository}: kept, it holds {models} models")
        return repository
    making = volume / ".making"
    shutil.rmtree(making, ignore_errors=True)  # what an interrupted run left
    prepared = prepare(making, SEED, console, (mode,))
    manifest = prepared.manifest
    stream = drifting_stream(prepared.parts.test, REPLAY_ROWS, SEED)
    with (making / "replay.npz").open("wb") as file:
        np.savez(file, **{manifest.inputs[0].name: stream.images})
    (making / "replay.npz").replace(volume / "replay.npz")
    prepared.repository.replace(repository)
    shutil.rmtree(making)
    models = len(model_files(repository, CONFIG_FILE))
    console.print(f"{repository}: written, bag {manifest.bag} in mode {mode}, {models} models")
    return repository


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fill a volume with the digits bag.")
    parser.add_argument("volume", type=Path, help="folder that gets repository/ and replay.npz")
    parser.add_argument("--mode", choices=MODES, default=MODES[0], help="how the members run (ensemble)")
    args = parser.parse_args()
    fill(args.volume, args.mode, Console())
