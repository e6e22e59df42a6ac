"""Cut tensors between two calls: what the first brought back, of the rows that still run.

They are arrays of the controller's own, in its host's memory: rows that have left are gone from them, and Triton's
shared memory is free for others (a tensor of a response that is handed on as it is ended the process in 24.10).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from exeunt.crossing import Crossing


@dataclass(frozen=True, slots=True)
class CutRows:
    """Cut tensors of some rows of a ticket.

    Attributes:
        rows: indices of the rows, ascending.
        arrays: name in ensembles -> [rows, ...].
    """

    rows: np.ndarray
    arrays: Mapping[str, np.ndarray]

    def of(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The tensors of fewer rows.

        Args:
            rows: indices in the ticket, ascending, all of them among its own.
        """
        if len(rows) == len(self.rows):
            return dict(self.arrays)
        places = np.searchsorted(self.rows, rows)
        return {name: array[places] for name, array in self.arrays.items()}


def misfit(arrays: Mapping[str, np.ndarray], crossing: Iterable[Crossing], rows: int) -> str | None:
    """What is wrong with cut tensors that a call has brought back; None if nothing is.

    Args:
        arrays: name -> [rows, ...].
        crossing: what was asked for.
        rows: of the call.
    """
    for one in crossing:
        array, tensor = arrays.get(one.name), one.tensor
        if array is None:
            return f"it brought no {one.name}"
        dims = array.shape[1:]
        same = len(dims) == len(tensor.dims) and all(d in (-1, n) for d, n in zip(tensor.dims, dims, strict=True))
        if len(array) != rows or array.dtype != np.dtype(tensor.dtype) or not same:
            return f"{one.name}: expected {tensor.dtype} {[rows, *tensor.dims]}, got {array.dtype} {list(array.shape)}"
    return None
