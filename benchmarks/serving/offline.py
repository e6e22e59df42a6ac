"""The members in one onnxruntime process, one after the other, without a server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

BATCH_ROWS = 16


class Offline:
    """Sessions over the members' own files.

    Args:
        members: name -> ONNX file.
        threads: of each session.
    """

    def __init__(self, members: Mapping[str, Path], threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._sessions = {
            name: onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
            for name, file in members.items()
        }

    def probabilities(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Of every member, float32 [rows, classes]."""
        return {name: _as_probabilities(_first_output(session, rows)) for name, session in self._sessions.items()}

    def labels(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Labels by member, int64 [rows], and those of their vote under "bag"."""
        parts: dict[str, list[np.ndarray]] = {}
        for start in range(0, len(rows), BATCH_ROWS):
            probabilities = self.probabilities(rows[start : start + BATCH_ROWS])
            probabilities["bag"] = np.mean(list(probabilities.values()), axis=0)
            for name, shares in probabilities.items():
                parts.setdefault(name, []).append(shares.argmax(axis=1))
        return {name: np.concatenate(part) for name, part in parts.items()}

    def latencies_ms(self, rows: np.ndarray) -> list[float]:
        """Of the full vote, one row at a time."""
        times_ms = []
        for row in rows:
            began_s = time.perf_counter()
            np.mean(list(self.probabilities(row[None]).values()), axis=0)
            times_ms.append(1e3 * (time.perf_counter() - began_s))
        return times_ms

    def member_ms(self, rows: np.ndarray) -> dict[str, float]:
        """Bare time of each member: the median over single rows, ms."""
        median_ms = {}
        for name, session in self._sessions.items():
            times_ms = []
            for row in rows:
                began_s = time.perf_counter()
                _first_output(session, row[None])
                times_ms.append(1e3 * (time.perf_counter() - began_s))
            median_ms[name] = float(np.median(times_ms))
        return median_ms


def _first_output(session: onnxruntime.InferenceSession, rows: np.ndarray) -> np.ndarray:
    return np.asarray(session.run([session.get_outputs()[0].name], {session.get_inputs()[0].name: rows})[0])


def _as_probabilities(scores: np.ndarray) -> np.ndarray:
    """Two classes of a lone sigmoid; else softmax, unless the rows are probabilities already."""
    if scores.shape[1] == 1:
        return np.concatenate([1.0 - scores, scores], axis=1)
    if (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1.0, atol=1e-3):
        return scores
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))
