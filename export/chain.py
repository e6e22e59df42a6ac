"""A member's segments run in order, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from exeunt.contract import FEATURES, PROBABILITIES
from exeunt.export import onnxfiles


@dataclass(frozen=True, slots=True)
class Chain:
    """Sessions of one member's segments, in order.

    Attributes:
        name: the member.
        sessions: one per segment.
    """

    name: str
    sessions: tuple[ort.InferenceSession, ...]

    @classmethod
    def open(cls, name: str, files: Sequence[Path]) -> Chain:
        """Open the segments' files."""
        return cls(name, tuple(onnxfiles.open_session(file) for file in files))

    def run(self, rows: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The outputs of each segment on `rows` (public input -> [rows, ...])."""
        at_hand = dict(rows)
        made = []
        for depth, session in enumerate(self.sessions, start=1):
            outputs = onnxfiles.run(session, at_hand, f"{self.name}, segment {depth}")
            at_hand |= outputs
            made.append(outputs)
        return made

    def observe(self, rows: Mapping[str, np.ndarray], batch: int) -> tuple[list[np.ndarray], np.ndarray]:
        """Run all rows, `batch` at a time.

        Returns:
            features of each cut, float32 [rows, f]; the member's probabilities, float32 [rows, classes].
        """
        count = len(next(iter(rows.values())))
        parts = [
            self.run({name: each[start : start + batch] for name, each in rows.items()})
            for start in range(0, count, batch)
        ]
        features = [
            np.concatenate([part[depth][FEATURES] for part in parts]) for depth in range(len(self.sessions) - 1)
        ]
        return features, np.concatenate([part[-1][PROBABILITIES] for part in parts])
