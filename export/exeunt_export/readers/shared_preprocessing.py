"""Preprocessing that the members share: a model of its own, run once for each request before the bag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from exeunt import contract
from exeunt.errors import ConfigError
from exeunt.manifest import Preprocess, Tensor
from exeunt_export import onnxfiles
from exeunt_export.readers import graph, refusals
from exeunt_export.readers.scores import CURE_BATCH

_BATCH = 64  # samples at a time


@dataclass(frozen=True, slots=True)
class SharedPreprocessing:
    """A bag's preprocessing.

    Attributes:
        model: its graph.
        preprocess: what it takes and makes, for the manifest.
        samples: input of the bag -> [rows, ...]: outputs of the preprocessing, and samples that go past it.
    """

    model: ir.Model
    preprocess: Preprocess
    samples: dict[str, np.ndarray]


def run_shared_preprocessing(
    bag: str, path: Path, samples: Mapping[str, np.ndarray], where: str, samples_key: str
) -> SharedPreprocessing:
    """Read a bag's preprocessing and run it on the samples.

    Args:
        bag: name of the bag.
        path: its ONNX file.
        samples: public input -> [rows, ...].
        where: file and key, for messages.
        samples_key: key and file of the samples, for messages.

    Raises:
        ConfigError: it cannot be read or run, the samples are not its inputs, or it has a fixed batch.
    """
    try:
        model = graph.read(path)
        refusals.check_graph(model, str(path), sent=samples)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    session = onnxfiles.open_in_memory(model, f"{where}: {path}")
    names = [value.name or "" for value in model.graph.inputs]
    if set(samples) == {""} and len(names) == 1:
        samples = {names[0]: samples[""]}
    for name in names:
        if name not in samples:
            raise ConfigError(
                f"{where}: {path}: input {name!r}: {samples_key} hold no array of that name, only {sorted(samples)}"
            )
    input_rows = {name: samples[name] for name in names}
    rows = len(next(iter(input_rows.values())))
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, rows, _BATCH):
        part = {name: array[start : start + _BATCH] for name, array in input_rows.items()}
        for name, array in onnxfiles.run(session, part, f"{where}: {path}").items():
            if not array.ndim or len(array) != len(next(iter(part.values()))):
                raise ConfigError(f"{where}: {path}: output {name!r} has no row for each row in; {CURE_BATCH}")
            parts.setdefault(name, []).append(array)
    joined = {name: np.concatenate(array) for name, array in parts.items()}
    inputs = tuple(_tensor(value, samples[value.name or ""]) for value in model.graph.inputs)
    outputs = tuple(_tensor(value, joined[value.name or ""]) for value in model.graph.outputs)
    passed = {name: sample for name, sample in samples.items() if name not in input_rows and name not in joined}
    return SharedPreprocessing(model, Preprocess(contract.preprocess_model(bag), inputs, outputs), passed | joined)


def _tensor(value: ir.Value, rows: np.ndarray) -> Tensor:
    """What one row of it is: as the file declares it, as the samples have it where it does not."""
    shape = value.shape
    if shape is None or len(shape) != rows.ndim:
        return Tensor(value.name or "", str(rows.dtype), rows.shape[1:])
    value.shape = ir.Shape(["rows", *(d if isinstance(d, int) else None for d in shape[1:])])
    return Tensor(value.name or "", str(rows.dtype), tuple(d if isinstance(d, int) else -1 for d in shape[1:]))
