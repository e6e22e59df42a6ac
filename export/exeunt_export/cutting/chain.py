"""A member's segments run in order, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort

from exeunt.contract import FEATURES, PROBABILITIES
from exeunt_export import onnxfiles
from exeunt_export.features import chunks, create


@dataclass(slots=True)
class Chain:
    """One member's segments, in order. Their weights are in memory from the first run until `close`.

    Attributes:
        name: the member.
        files: one ONNX file per segment.
        threads: of one run.
    """

    name: str
    files: Sequence[Path]
    threads: int = 1
    _sessions: tuple[ort.InferenceSession, ...] = field(default=(), init=False, repr=False)

    @property
    def sessions(self) -> tuple[ort.InferenceSession, ...]:
        """One per segment."""
        if not self._sessions:
            self._sessions = tuple(onnxfiles.open_session(file, threads=self.threads) for file in self.files)
        return self._sessions

    def close(self) -> None:
        """Give the memory of the weights back; a further run opens the files again."""
        self._sessions = ()

    def run(self, rows: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The outputs of each segment on `rows` (public input -> [rows, ...])."""
        at_hand = dict(rows)
        made = []
        for depth, session in enumerate(self.sessions, start=1):
            outputs = onnxfiles.run(session, at_hand, f"{self.name}, segment {depth}")
            at_hand |= outputs
            made.append(outputs)
        return made

    def observe(self, rows: Mapping[str, np.ndarray], batch: int, folder: Path) -> tuple[list[np.ndarray], np.ndarray]:
        """Run all rows, `batch` at a time.

        Args:
            rows: public input -> [rows, ...].
            batch: rows of one run.
            folder: for the features' files; they never are in memory all at once.

        Returns:
            features of each cut, float32 [rows, f], mapped; the member's probabilities, float32 [rows, classes].
        """
        count = len(next(iter(rows.values())))
        files: list[np.ndarray] = []
        probabilities = []
        for part in chunks(count, batch):
            made = self.run({name: row[part] for name, row in rows.items()})
            for depth, outputs in enumerate(made[:-1]):
                if depth == len(files):
                    path = folder / f"{self.name}_{depth + 1}.npy"
                    files.append(create(path, count, outputs[FEATURES].shape[1]))
                files[depth][part] = outputs[FEATURES]
            probabilities.append(made[-1][PROBABILITIES])
        return files, np.concatenate(probabilities)
