"""The unlabelled sample inputs, and their parts for ramps, calibration and report."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exeunt.errors import ConfigError
from exeunt.reading import reading
from exeunt_export.bagfile import objects, pictures, tabular
from exeunt_export.features import chunks
from exeunt_export.mapped import mapped_zeros, release_pages

_SHARES = (0.5, 0.35)  # ramps, calibration; the rest is for the report
LEAST_ROWS = 50
_MAPPED_FROM_BYTES = 1 << 26
_READ_BYTES = 1 << 24  # at a time
_CHECKED_ROWS = 64  # at a time


@dataclass(frozen=True, slots=True)
class SampleParts:
    """Row numbers, int64, of three parts without overlap."""

    ramps: np.ndarray
    calibration: np.ndarray
    report: np.ndarray

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of each part."""
        return {"ramps": len(self.ramps), "calibration": len(self.calibration), "report": len(self.report)}


def load(
    path: Path, where: str, inputs: Sequence[str] = (), images: Mapping[str, pictures.ImageInput] | None = None
) -> dict[str, np.ndarray]:
    """Read sample inputs.

    Args:
        path: .npy with one array, .npz with one per public input, a table (.csv, .tsv, .parquet), a folder of images.
        where: file and key, for messages.
        inputs: public inputs where the bag file names them, for tables.
        images: public input -> how an image becomes a row of it.

    Returns:
        public input -> [rows, ...]. A bare array has the name "".

    Raises:
        ConfigError: no such file, or not such a file.
    """
    if path.is_dir():
        return pictures.load_images(path, images or {}, where)
    if not path.is_file():
        raise ConfigError(
            f"{where}: {path}: no such file; it holds unlabelled sample inputs (.npy, .npz, .csv, .parquet, or images)"
        )
    if path.suffix.lower() in tabular.SUFFIXES:
        return tabular.load_table(path, inputs, where)
    with reading(path, "file of samples, .npy or .npz"):
        arrays = _arrays(path, where)
        for name, array in arrays.items():
            if array.ndim == 0 or array.dtype.kind not in "biuf":
                kind = f"{array.dtype} {list(array.shape)}"
                raise ConfigError(f"{where}: {path}: array {name!r} is {kind}; allowed: numbers, [rows, ...]")
        return arrays


def _arrays(path: Path, where: str) -> dict[str, np.ndarray]:
    """Arrays of a file; a bare one is mapped, so that it needs no memory of its own."""
    if not zipfile.is_zipfile(path):
        try:
            return {"": np.load(path, mmap_mode="r", allow_pickle=False)}
        except ValueError as error:
            if "Python objects in dtype" not in str(error) and "Object arrays" not in str(error):
                raise
        with path.open("rb") as file:
            return {"": objects.read_objects(file, path, where)}
    with zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy"): _entry(archive, name, path, where) for name in archive.namelist()}


def _entry(archive: zipfile.ZipFile, entry: str, path: Path, where: str) -> np.ndarray:
    """One array of an .npz file, in a mapped file of its own where it is large."""
    with archive.open(entry) as file:
        shape, by_columns, dtype = objects.read_header(file)
        bytes_ = math.prod(shape) * dtype.itemsize
        if bytes_ > _MAPPED_FROM_BYTES and not by_columns and not dtype.hasobject:
            array = mapped_zeros(shape, dtype)
            flat = array.reshape(-1).view(np.uint8)
            for part in chunks(bytes_, _READ_BYTES):
                flat[part] = np.frombuffer(file.read(part.stop - part.start), np.uint8)
            return array
    with archive.open(entry) as file:
        if dtype.hasobject:
            return objects.read_objects(file, path, f"{where}: array {entry.removesuffix('.npy')!r}")
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def count_rows(samples: Mapping[str, np.ndarray], where: str) -> int:
    """Number of rows.

    Raises:
        ConfigError: arrays of different lengths, or too few rows.
    """
    counts = {name: len(sample) for name, sample in samples.items()}
    rows = next(iter(counts.values()), 0)
    if len(set(counts.values())) > 1:
        raise ConfigError(f"{where}: arrays of different lengths {counts}; each holds one row per sample")
    if rows < LEAST_ROWS:
        raise ConfigError(f"{where}: {rows} rows; give at least {LEAST_ROWS} (some hundreds do well)")
    return rows


def check_finite(samples: Mapping[str, np.ndarray], where: str) -> None:
    """Raise ConfigError, naming `where`, input and first row, if a sample holds NaN or infinity."""
    for name, rows in samples.items():
        if rows.dtype.kind != "f":
            continue
        for part in chunks(len(rows), _CHECKED_ROWS):
            finite = np.isfinite(rows[part]).reshape(part.stop - part.start, -1).all(axis=1)
            if not finite.all():
                row = part.start + int(finite.argmin())
                raise ConfigError(f"{where}: input {name!r}, row {row}: NaN or infinity; allowed: finite numbers")
            release_pages(rows)


def divide(rows: int, seed: int) -> SampleParts:
    """Divide `rows` rows at random: half for ramps, 35 % for calibration, the rest for the report."""
    order = np.random.default_rng(seed).permutation(rows)
    ends = np.cumsum([int(rows * share) for share in _SHARES])
    return SampleParts(*(np.sort(part) for part in np.split(order, ends)))
