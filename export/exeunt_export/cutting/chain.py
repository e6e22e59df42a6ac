"""A member's segments run in order, in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort

from exeunt.contract import FEATURES, PROBABILITIES
from exeunt_export import onnxfiles
from exeunt_export.features import chunks, create_mapped
from exeunt_export.mapped import release_pages


@dataclass(slots=True)
class Chain:
    """One member's segments, in order. Their weights are in memory from the first run until `close`.

    Attributes:
        name: the member.
        files: one ONNX file per segment.
        threads: of one run.
        arena: whether the sessions keep memory between runs, as a server's do.
    """

    name: str
    files: Sequence[Path]
    threads: int = 1
    arena: bool = True
    _sessions: tuple[ort.InferenceSession, ...] = field(default=(), init=False, repr=False)

    @property
    def sessions(self) -> tuple[ort.InferenceSession, ...]:
        """One per segment."""
        if not self._sessions:
            self._sessions = tuple(
                onnxfiles.open_session(file, threads=self.threads, arena=self.arena) for file in self.files
            )
        return self._sessions

    def close(self) -> None:
        """Give the memory of the weights back; a further run opens the files again."""
        self._sessions = ()

    def run(self, rows: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The outputs of each segment on `rows` (public input -> [rows, ...])."""
        return [outputs for outputs, _ in self.walk(rows)]

    def observe(self, rows: Mapping[str, np.ndarray], batch: int, folder: Path) -> tuple[list[np.ndarray], np.ndarray]:
        """Run all rows, `batch` at a time, segment by segment: of the cut tensors only a batch's are held.

        Args:
            rows: public input -> [rows, ...].
            batch: rows of one run.
            folder: for the features' files; they never are in memory all at once.

        Returns:
            features of each cut, float32 [rows, f], mapped; the member's probabilities, float32 [rows, classes],
            mapped too.
        """
        count = len(next(iter(rows.values())))
        names = [FEATURES] * (len(self.files) - 1) + [PROBABILITIES]
        files: list[np.ndarray] = []
        for part in chunks(count, batch):
            steps = self.walk({name: row[part] for name, row in rows.items()})
            for depth, ((outputs, _), name) in enumerate(zip(steps, names, strict=True)):
                if depth == len(files):
                    files.append(create_mapped(folder / f"{self.name}_{depth + 1}.npy", count, outputs[name].shape[1]))
                files[depth][part] = outputs[name]
            release_pages(*rows.values(), *files)
        return files[:-1], files[-1]

    def walk(self, rows: Mapping[str, np.ndarray]) -> Iterator[tuple[dict[str, np.ndarray], float]]:
        """Run segment by segment, and drop tensors that no later segment reads.

        Args:
            rows: public input -> [rows, ...].

        Yields:
            a segment's outputs, and how long its run took, microseconds.
        """
        at_hand = dict(rows)
        read = [{input_.name for input_ in session.get_inputs()} for session in self.sessions]
        for depth, session in enumerate(self.sessions):
            start_ns = time.perf_counter_ns()
            outputs = onnxfiles.run(session, at_hand, f"{self.name}, segment {depth + 1}")
            took_us = (time.perf_counter_ns() - start_ns) / 1e3
            later = set().union(*read[depth + 1 :])
            at_hand = {name: array for name, array in (at_hand | outputs).items() if name in later}
            yield outputs, took_us
            del outputs
