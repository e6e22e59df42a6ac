"""Weights are asked for from disk at the beginning of a start."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from pathlib import Path

from exeunt.serving.read_ahead import read_ahead

PAGES = 512


def in_memory(path: Path) -> int:
    """Pages of a file that the system holds."""
    library, size = ctypes.CDLL(None), path.stat().st_size
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    pages = (ctypes.c_ubyte * (size // mmap.PAGESIZE))()
    with path.open("rb") as file:
        start = library.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    assert library.mincore(ctypes.c_void_p(start), ctypes.c_size_t(size), pages) == 0
    library.munmap(ctypes.c_void_p(start), ctypes.c_size_t(size))
    return sum(page & 1 for page in pages)


def on_disk(path: Path) -> Path:
    """Write a file and have the system forget it."""
    path.parent.mkdir(parents=True)
    path.write_bytes(os.urandom(PAGES * mmap.PAGESIZE))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return path


def test_all_of_a_models_weights_come_into_memory(tmp_path: Path) -> None:
    paths = [on_disk(tmp_path / "bag_exit/1/bag_a_s1.onnx.data"), on_disk(tmp_path / "bag_a/1/model.onnx")]
    read_ahead(tmp_path).join()
    end_s = time.monotonic() + 60
    while any(in_memory(path) < PAGES for path in paths):
        assert time.monotonic() < end_s, [in_memory(path) for path in paths]
        time.sleep(0.02)


def test_a_file_that_cannot_be_read_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/gone.onnx").symlink_to(tmp_path / "nowhere")
    read_ahead(tmp_path).join()
    read_ahead(tmp_path / "no folder").join()
