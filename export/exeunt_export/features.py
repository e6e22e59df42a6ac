"""Features of many rows that are never all in memory: files that are mapped, read and standardised chunk by chunk.

A bag of 24 members with 12 exits has some 300 cuts of up to 4096 features: ten thousand samples make 50 GB of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exeunt.deciding.heads import Head
from exeunt_export.mapped import release_pages

CHUNK_ROWS = 4096  # at most 64 MiB of 4096 features
_STANDARDISED_ROWS = 256  # at a time, in double precision


def create_mapped(path: Path, rows: int, width: int) -> np.ndarray:
    """A new file of float32 [rows, width], mapped for writing; the system keeps in memory what fits there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, width))


def chunks(rows: int, chunk_rows: int) -> Iterator[slice]:
    """Slices of at most `chunk_rows` that cover `rows`."""
    for start in range(0, rows, chunk_rows):
        yield slice(start, min(rows, start + chunk_rows))


@dataclass(frozen=True, slots=True)
class Standardisation:
    """How features are standardised: (features - mean) * scale.

    Attributes:
        mean: float64 [f].
        scale: float64 [f]; 0 for a feature that never moves.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, rows: np.ndarray, chunk_rows: int) -> Standardisation:
        """Mean and deviation of `rows` (row numbers) in two passes; both are NaN or infinite where a feature is."""
        mean = np.zeros(features.shape[1])
        parts = list(chunks(len(rows), min(chunk_rows, _STANDARDISED_ROWS)))
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is for the caller to refuse
            for part in parts:
                mean += features[rows[part]].sum(axis=0, dtype=np.float64) / len(rows)
            variance = np.zeros_like(mean)
            for part in parts:
                variance += ((features[rows[part]] - mean) ** 2).sum(axis=0) / len(rows)
        deviation = np.sqrt(variance)
        # a feature that never moved in training would explode on the first input where it does
        return cls(mean, np.where(deviation > 1e-6, 1.0 / np.maximum(deviation, 1e-6), 0.0))

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Standardised features, float32 [rows, f]."""
        return np.asarray((features - self.mean) * self.scale, dtype=np.float32)

    def fold_into_head(self, weight: np.ndarray, bias: np.ndarray) -> Head:
        """The head on plain features that gives what one on standardised features gives.

        Args:
            weight: of the latter, float32 [f, classes].
            bias: of the latter, float32 [classes].
        """
        scaled = weight.astype(np.float64) * self.scale[:, None]
        return Head(scaled.astype(np.float32), (bias - self.mean @ scaled).astype(np.float32))


class StandardisedRows:
    """Standardised rows, read from front to back again and again.

    Args:
        features: float32 [rows, f], in memory or mapped.
        order: row numbers.
        standard: of the features.
        chunk_rows: most rows held at a time.
        path: file for them; only written where there is more than one chunk.

    Attributes:
        width: number of features.
    """

    def __init__(
        self, features: np.ndarray, order: np.ndarray, standard: Standardisation, chunk_rows: int, path: Path
    ) -> None:
        self._parts = list(chunks(len(order), chunk_rows))
        many = len(self._parts) > 1
        self.width = features.shape[1]
        shape = (len(order), self.width)
        self._rows = create_mapped(path, *shape) if many else np.empty(shape, dtype=np.float32)
        for part in chunks(len(order), min(chunk_rows, _STANDARDISED_ROWS)):
            self._rows[part] = standard.apply(features[order[part]])

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows)

    @property
    def all_rows(self) -> np.ndarray | None:
        """All rows, float32 [rows, width]; None where they are more than one chunk."""
        return self._rows if len(self._parts) == 1 else None

    def project(self, basis: np.ndarray) -> None:
        """From now on the rows are their products with `basis`, float32 [width, new width]."""
        self._rows = np.asarray(self._rows @ basis)
        self.width = basis.shape[1]

    def chunks(self) -> Iterator[np.ndarray]:
        """The rows in order, float32 [at most chunk_rows, width]."""
        for part in self._parts:
            yield self._rows[part]
            release_pages(self._rows)
