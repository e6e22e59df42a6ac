"""TensorRT engines in place of ONNX files: what a build on the serving host needs, written beside each model.

An engine fits one GPU type and one TensorRT version, so it is never built here: export writes for every ONNX model the
config of Triton's tensorrt backend, the recipe (`engine.json`) and a sample of inputs with the ONNX model's outputs
(`sample.npz`); exeunt.serving.tensorrt builds and compares, inside the server's image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from exeunt.contract import FEATURES, features_name
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest
from exeunt.serving.tensorrt import PLAN_FILE, RECIPE_FILE, SAMPLE_FILE
from exeunt_export import onnxfiles
from exeunt_export.writing.native import PRECISIONS, place, shape_ranges

SAMPLE_ROWS = 8
Fed = tuple[str, int, dict[str, np.ndarray]]  # model, number of its member, inputs


def prepare(
    repository: Path,
    manifest: Manifest,
    rows: Mapping[str, np.ndarray],
    precision: str = "float32",
    gpus: tuple[int, ...] = (),
) -> list[str]:
    """Turn a repository's ONNX models into recipes for TensorRT engines, in place.

    Args:
        repository: that export wrote, mode "ensemble".
        manifest: of the bag in it.
        rows: public input -> real rows, [rows, ...]; the first few become the samples.
        precision: of the engines, "float32" or "float16".
        gpus: members are dealt out to these GPUs; empty leaves every model on all.

    Returns:
        names of the models.

    Raises:
        ConfigError: mode "engine", or a precision that is not allowed.
    """
    if manifest.mode != "ensemble" or precision not in PRECISIONS:
        allowed = f'mode "ensemble" and a precision of {", ".join(PRECISIONS)}'
        raise ConfigError(f"{repository}: mode {manifest.mode!r}, precision {precision!r}; allowed: {allowed}")
    done = []
    for model, member, fed in _with_inputs(repository, manifest, rows):
        folder = repository / model
        path = folder / "config.pbtxt"
        config = text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())
        recipe = {"precision": precision, "shapes": shape_ranges(config)}
        (folder / "1" / RECIPE_FILE).write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
        outputs = onnxfiles.run(onnxfiles.open_session(folder / "1" / "model.onnx"), fed, model)
        sample = {f"in.{name}": array for name, array in fed.items()}
        np.savez(folder / "1" / SAMPLE_FILE, **sample, **{f"out.{name}": array for name, array in outputs.items()})
        _tensorrt_backend(config)
        if gpus:
            place(config, gpus[member % len(gpus)])
        path.write_text(text_format.MessageToString(config), encoding="utf-8")
        done.append(model)
    return done


def _tensorrt_backend(config: pb.ModelConfig) -> None:
    """Triton's tensorrt backend loads 1/model.plan; onnxruntime's own options go."""
    config.backend = "tensorrt"
    config.default_model_filename = PLAN_FILE
    config.ClearField("optimization")
    for key in ("intra_op_thread_count", "inter_op_thread_count"):
        config.parameters.pop(key, None)
    for group in config.instance_group:
        group.kind = pb.ModelInstanceGroup.KIND_GPU


def _with_inputs(repository: Path, manifest: Manifest, rows: Mapping[str, np.ndarray]) -> Iterator[Fed]:
    """Every ONNX model with its member's number and real inputs, which the models before it made."""
    public = {tensor.name: rows[tensor.name][:SAMPLE_ROWS] for tensor in manifest.inputs}
    features: dict[str, np.ndarray] = {}
    for number, member in enumerate(manifest.members):
        at_hand = dict(public)
        for depth, segment in enumerate(member.segments, start=1):
            fed = {tensor.name: at_hand[tensor.name] for tensor in segment.inputs}
            session = onnxfiles.open_session(repository / segment.model / "1" / "model.onnx")
            at_hand |= onnxfiles.run(session, fed, segment.model)
            if FEATURES in at_hand:
                features[features_name(member.name, depth)] = at_hand.pop(FEATURES)
            yield segment.model, number, fed
        if member.model is not None:
            session = onnxfiles.open_session(repository / member.model / "1" / "model.onnx")
            names = {input_.name for input_ in session.get_inputs()}
            yield member.model, number, {name: public[name] for name in public if name in names}
    for number, exit_ in enumerate(manifest.exits):
        if exit_.heads is not None:
            midway = [(m, d) for m, d in zip(manifest.members, exit_.depths, strict=True) if 0 < d < m.depth]
            yield exit_.heads, number, {features_name(m.name, d): features[features_name(m.name, d)] for m, d in midway}
