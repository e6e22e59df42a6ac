"""What an exported bag says of a stream at every depth of every member, computed offline from its ONNX files.

The material of `python -m benchmarks.comparison`: votes at all exits without a server, in the form that
`exeunt.deciding.calibration.exits_of` reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from exeunt.contract import FEATURES, PROBABILITIES, exit_model, features_name, votes_name
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest, Member

_BATCH_ROWS = 64
Run = Callable[[str, Mapping[str, np.ndarray]], dict[str, np.ndarray]]  # model, inputs -> outputs


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
        for name, made in _batch_votes(manifest, batch, run).items():
            parts.setdefault(name, []).append(made)
        progress(len(next(iter(batch.values()))))
    return {name: np.concatenate(made) for name, made in parts.items()}


def full_labels(given: Mapping[str, np.ndarray], manifest: Manifest) -> np.ndarray:
    """Label of the full vote, int32 [rows], from what `depth_probabilities` returns."""
    from exeunt.deciding.calibration import exits_of

    return exits_of(given, manifest).full


def _batch_votes(manifest: Manifest, batch: Mapping[str, np.ndarray], run: Run) -> dict[str, np.ndarray]:
    """Run every segment of every member, then every exit's heads."""
    features: dict[str, np.ndarray] = {}
    votes: dict[str, np.ndarray] = {}
    for member in manifest.members:
        _run_member(member, batch, run, features, votes)
    for exit_ in manifest.exits:
        if exit_.heads is None:
            continue
        midway = [
            (member.name, depth)
            for member, depth in zip(manifest.members, exit_.depths, strict=True)
            if 0 < depth < member.depth
        ]
        votes |= run(exit_.heads, {features_name(*cut): features[features_name(*cut)] for cut in midway})
    return votes


def _run_member(
    member: Member,
    batch: Mapping[str, np.ndarray],
    run: Run,
    features: dict[str, np.ndarray],
    votes: dict[str, np.ndarray],
) -> None:
    """Run a member's segments in order; adds to `features` and `votes`."""
    tensors = dict(batch)
    for depth, segment in enumerate(member.segments, start=1):
        made = run(segment.model, {tensor.name: tensors[tensor.name] for tensor in segment.inputs})
        if segment.features is not None:
            features[features_name(member.name, depth)] = made.pop(FEATURES)
        if depth == member.depth:
            votes[votes_name(member.name, depth)] = made[PROBABILITIES]
        tensors |= made


def _runner(repository: Path, manifest: Manifest) -> Run:
    sessions: dict[str, onnxruntime.InferenceSession] = {}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # members this small: threads that wait for each other cost ten times the work

    def run(model: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if model not in sessions:
            file = _model_file(repository, manifest, model)
            sessions[model] = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in sessions[model].get_outputs()]
        return dict(zip(names, sessions[model].run(names, dict(inputs)), strict=True))

    return run


def _model_file(repository: Path, manifest: Manifest, model: str) -> Path:
    """Where a segment or heads model lies: a Triton model of its own, or beside the manifest in engine mode."""
    places = (
        repository / model / "1" / "model.onnx",
        repository / exit_model(manifest.bag) / "1" / f"{model}.onnx",
    )
    for place in places:
        if place.exists():
            return place
    raise ConfigError(f"{places[0]}: no such file, nor {places[1]}; export the bag again")
