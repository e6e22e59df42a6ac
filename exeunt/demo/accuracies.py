"""How often every member alone is right, and their vote; computed without a server."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

VOTE = "all together"
_BATCH_ROWS = 16


def accuracies(models: Mapping[str, Path], rows: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Share of right labels by member, and of their vote under VOTE.

    Args:
        models: member -> its ONNX file, whose first output are probabilities.
        rows: [rows, ...], its only input.
        truth: int64 [rows].
    """
    with ThreadPoolExecutor(2) as pool:
        votes = dict(zip(models, pool.map(lambda path: _probabilities(path, rows), models.values()), strict=True))
    votes[VOTE] = np.sum(list(votes.values()), axis=0)
    return {name: float((vote.argmax(axis=1) == truth).mean()) for name, vote in votes.items()}


def best_member(accuracy: Mapping[str, float]) -> str:
    """The member that is right most often."""
    return max((name for name in accuracy if name != VOTE), key=lambda name: accuracy[name])


def _probabilities(path: Path, rows: np.ndarray) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    starts = range(0, len(rows), _BATCH_ROWS)
    return np.concatenate([session.run(None, {name: rows[k : k + _BATCH_ROWS]})[0] for k in starts])
