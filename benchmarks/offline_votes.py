"""What an exported bag says of a stream at every depth of every member, computed offline from its ONNX files.

The material of `python -m benchmarks.comparison`: votes at all exits without a server, in the form that
`exeunt.deciding.calibration.exits_of` reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from exeunt.bag_parts import ModelPart, Tensors, run_parts
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest

_BATCH_ROWS = 64


def depth_probabilities(
    repository: Path,
    manifest: Manifest,
    inputs: np.ndarray | Mapping[str, np.ndarray],
    progress: Callable[[int], None] = lambda rows: None,
) -> dict[str, np.ndarray]:
    """Class probabilities of every member at every depth that votes at some exit.

    Args:
        repository: folder that `exeunt export` wrote, of either mode.
        manifest: of the bag in it.
        inputs: [rows, ...], or public input -> [rows, ...].
        progress: called with the number of rows done since the last call.

    Returns:
        `votes_name(member, depth)` -> float32 [rows, classes].

    Raises:
        ConfigError: a model's file is missing.
    """
    if isinstance(inputs, np.ndarray):
        inputs = {manifest.inputs[0].name: inputs}
    run = _runner(repository, manifest)
    rows = len(next(iter(inputs.values())))
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, rows, _BATCH_ROWS):
        batch = {name: array[start : start + _BATCH_ROWS] for name, array in inputs.items()}
        for name, probabilities in run_parts(manifest, batch, run).items():
            parts.setdefault(name, []).append(probabilities)
        progress(len(next(iter(batch.values()))))
    return {name: np.concatenate(batches) for name, batches in parts.items()}


def _runner(repository: Path, manifest: Manifest) -> Callable[[ModelPart, Tensors], Tensors]:
    sessions: dict[str, onnxruntime.InferenceSession] = {}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # members this small: threads that wait for each other cost ten times the work

    def run(part: ModelPart, inputs: Tensors) -> Tensors:
        if part.model not in sessions:
            if not (file := part.file(repository, manifest.bag)).exists():
                raise ConfigError(f"{file}: no such file; export the bag again")
            sessions[part.model] = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in part.outputs]
        return dict(zip(names, sessions[part.model].run(names, dict(inputs)), strict=True))

    return run
