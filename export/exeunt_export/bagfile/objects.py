"""Arrays of Python objects, as `.values` of a table with columns of several kinds makes them.

Such arrays are pickles, and a pickle may run anything. So only numbers, text and arrays are taken out of them.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np

from exeunt.errors import ConfigError

_SAFE = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


class _Numbers(pickle.Unpickler):
    """Builds numpy arrays of plain values, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Only what arrays are made of."""
        if (module, name) not in _SAFE:
            raise pickle.UnpicklingError(f"holds {module}.{name}")
        return super().find_class(module.replace("._core", ".core") if np.__version__ < "2" else module, name)


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the order is Fortran's, and dtype of an .npy stream; afterwards it stands at the numbers."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def read_objects(file: IO[bytes], path: Path, where: str) -> np.ndarray:
    """The numbers of an .npy stream of objects, float64.

    Args:
        file: at its beginning.
        path: of the file, for messages.
        where: file and key, for messages.

    Raises:
        ConfigError: a value that is no number; names file, column and value.
    """
    read_header(file)
    try:
        array = np.asarray(_Numbers(file).load())
    except Exception as error:  # an edge: the content is a stranger's
        raise ConfigError(
            f"{where}: {path}: Python objects that are no numbers ({error}); save numbers: array.astype(numpy.float32)"
        ) from None
    columns = array.reshape(len(array), -1) if array.ndim > 1 else array[:, None] if array.ndim else array.reshape(1, 1)
    numbers = np.empty(columns.shape)
    for column in range(columns.shape[1]):
        for row, value in enumerate(columns[:, column]):
            if not isinstance(value, int | float | np.number | np.bool_):
                raise ConfigError(
                    f"{where}: {path}: column {column}, row {row}: {value!r:.40} is no number; encode the column as "
                    "the members were trained on it, or leave it out"
                )
            numbers[row, column] = value
    return numbers.reshape(array.shape)
