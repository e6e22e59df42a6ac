"""Arrays in unnamed files that are mapped into memory: the system may drop their pages."""

from __future__ import annotations

import mmap
import tempfile

import numpy as np


def mapped_zeros(shape: tuple[int, ...], dtype: np.dtype[np.generic] | str) -> np.ndarray:
    """Zeros in a file without a name; the file goes when the array does."""
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


def release_pages(*arrays: np.ndarray) -> None:
    """Take the pages of mapped arrays out of this process; what was written is in the file. Other arrays stay."""
    for array in arrays:
        base: object = array
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap):
            base.madvise(mmap.MADV_DONTNEED)
