"""Finished rows as the learner keeps them: pooled features at every cut, the members' final votes, the full label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from exeunt.deciding.heads import Pair

LARGEST = 65504.0  # of float16
LEAST_LOG = -60.0  # log-probabilities are kept above: exp(-60) is nothing to a float32 sum


@dataclass(frozen=True, slots=True)
class ServedRows:
    """Rows whose full vote is known.

    Probabilities are kept as logarithms: in half precision 0.9999 would be 1, and its margin would say nothing.

    Attributes:
        features: (member, depth) -> float16 [rows, f], of every ramp that can learn.
        logs: float16 [rows, members, classes], logarithms of the members' final probabilities.
        labels: int32 [rows], the full vote's.
        q: float32 [rows], probability with which the row was chosen to finish.
        numbers: int64 [rows], ascending over the life of the learner.
        arrived_us: int64 [rows], when the row came in.
    """

    features: Mapping[Pair, np.ndarray]
    logs: np.ndarray
    labels: np.ndarray
    q: np.ndarray
    numbers: np.ndarray
    arrived_us: np.ndarray

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.labels)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row; at least one row."""
        return sum(array[0].nbytes for array in self.arrays().values())

    def rows(self, selection: np.ndarray | slice) -> ServedRows:
        """The selected rows (mask, indices or slice)."""
        return ServedRows.of({name: array[selection] for name, array in self.arrays().items()})

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by name."""
        named = {f"features.{member}.{depth}": array for (member, depth), array in self.features.items()}
        columns = ("logs", "labels", "q", "numbers", "arrived_us")
        return named | {name: getattr(self, name) for name in columns}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> ServedRows:
        """What `arrays` gave."""
        features = {}
        for name in sorted(arrays):
            if name.startswith("features."):
                _, member, depth = name.split(".")
                features[int(member), int(depth)] = arrays[name]
        columns = ("logs", "labels", "q", "numbers", "arrived_us")
        return cls(features, *(arrays[name] for name in columns))

    @classmethod
    def joined(cls, parts: Sequence[ServedRows]) -> ServedRows:
        """All rows of `parts`, in order; at least one part."""
        arrays = [part.arrays() for part in parts]
        return cls.of({name: np.concatenate([part[name] for part in arrays]) for name in arrays[0]})


def half(array: np.ndarray) -> np.ndarray:
    """Features in half precision, finite ones within its range; a copy."""
    return np.clip(array, -LARGEST, LARGEST).astype(np.float16)


def logs_of(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms of probabilities in half precision; a copy."""
    clipped = np.maximum(probabilities, np.float32(np.exp(LEAST_LOG)))
    return np.log(clipped, dtype=np.float32).astype(np.float16)


class RowTable:
    """A fixed number of places for rows, in memory that is taken once.

    Args:
        like: some row (at least one) that says the shapes.
        places: number of rows.
    """

    def __init__(self, like: ServedRows, places: int) -> None:
        self._arrays = {
            name: np.zeros((places, *array.shape[1:]), dtype=array.dtype) for name, array in like.arrays().items()
        }
        self.places = places

    def put(self, places: np.ndarray, rows: ServedRows) -> None:
        """Write rows into `places` (indices)."""
        for name, array in rows.arrays().items():
            self._arrays[name][places] = array

    def wipe(self, places: np.ndarray) -> None:
        """Let nothing of the rows in `places` (indices) be left in memory."""
        for array in self._arrays.values():
            array[places] = 0

    def copy_of(self, places: np.ndarray) -> ServedRows:
        """A copy of the rows in `places` (indices)."""
        return ServedRows.of({name: array[places] for name, array in self._arrays.items()})
