"""Features of many rows without ever holding them all: files that are mapped, read and standardised chunk by chunk.

A bag of 24 members with 12 exits has some 300 cuts of up to 4096 features: ten thousand samples make 50 GB of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CHUNK_ROWS = 4096  # at most 64 MiB of 4096 features


def create(path: Path, rows: int, width: int) -> np.ndarray:
    """A new file of float32 [rows, width], mapped for writing; the system keeps in memory what fits there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, width))


def chunks(rows: int, chunk_rows: int) -> Iterator[slice]:
    """Slices of at most `chunk_rows` that cover `rows`."""
    for start in range(0, rows, chunk_rows):
        yield slice(start, min(rows, start + chunk_rows))


@dataclass(frozen=True, slots=True)
class Standard:
    """How features are standardised: (features - mean) * scale.

    Attributes:
        mean: float64 [f].
        scale: float64 [f]; 0 for a feature that never moves.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, rows: np.ndarray, chunk_rows: int) -> Standard:
        """Mean and deviation of `rows` (row numbers) in two passes; both are NaN or infinite where a feature is."""
        mean = np.zeros(features.shape[1])
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is for the caller to refuse
            for part in chunks(len(rows), chunk_rows):
                mean += features[rows[part]].sum(axis=0, dtype=np.float64) / len(rows)
            variance = np.zeros_like(mean)
            for part in chunks(len(rows), chunk_rows):
                variance += ((features[rows[part]] - mean) ** 2).sum(axis=0) / len(rows)
        deviation = np.sqrt(variance)
        # a feature that never moved in training would explode on the first input where it does
        return cls(mean, np.where(deviation > 1e-6, 1.0 / np.maximum(deviation, 1e-6), 0.0))

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Standardised features, float32 [rows, f]."""
        return np.asarray((features - self.mean) * self.scale, dtype=np.float32)


class Shuffled:
    """Standardised rows in an order of one's own, so that training reads them from front to back.

    Args:
        features: float32 [rows, f], in memory or mapped.
        order: row numbers, at random: neighbours in a chunk are then no neighbours among the samples.
        standard: of the features.
        chunk_rows: most rows held at a time.
        path: file for them; only written where there is more than one chunk.
    """

    def __init__(
        self, features: np.ndarray, order: np.ndarray, standard: Standard, chunk_rows: int, path: Path
    ) -> None:
        self._parts = list(chunks(len(order), chunk_rows))
        self._one = standard.apply(features[order]) if len(self._parts) == 1 else None
        if self._one is None:
            file = create(path, len(order), features.shape[1])
            for part in self._parts:
                file[part] = standard.apply(features[order[part]])
            self._file = file

    def chunk(self, number: int) -> np.ndarray:
        """Chunk `number`, float32 [at most chunk_rows, f]."""
        return self._one if self._one is not None else np.array(self._file[self._parts[number]])
