"""TensorRT engines in place of ONNX files: what a build on the serving host needs, written beside each model.

An engine fits one GPU type and one TensorRT version, so it is never built here: export writes for every ONNX model the
config of Triton's tensorrt backend, the recipe (`engine.json`) and a sample of inputs with the ONNX model's outputs
(`sample.npz`); exeunt.serving.tensorrt builds and compares, inside the server's image.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from exeunt.bag_parts import Tensors, run_parts
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest
from exeunt.serving.tensorrt import PLAN_FILE, RECIPE_FILE, SAMPLE_FILE
from exeunt_export import onnxfiles
from exeunt_export.writing.native import PRECISIONS, place_on_gpu, shape_ranges

SAMPLE_ROWS = 8


def write_engine_recipes(
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
    public = {tensor.name: rows[tensor.name][:SAMPLE_ROWS] for tensor in manifest.inputs}
    written = []

    def run(model: str, gpu: int, inputs: Tensors) -> Tensors:
        folder = repository / model
        outputs = onnxfiles.run(onnxfiles.open_session(folder / "1" / "model.onnx"), inputs, model)
        sample = {f"in.{name}": array for name, array in inputs.items()}
        np.savez(folder / "1" / SAMPLE_FILE, **sample, **{f"out.{name}": array for name, array in outputs.items()})
        _write_recipe(folder, precision, gpus[gpu % len(gpus)] if gpus else None)
        written.append(model)
        return outputs

    run_parts(manifest, public, lambda part, inputs: run(part.model, part.number, inputs) if part.in_triton else {})
    for number, member in enumerate(manifest.members):
        if member.model is not None:
            names = {tensor.name for segment in member.segments for tensor in segment.inputs}
            run(member.model, number, {name: array for name, array in public.items() if name in names})
    return written


def _write_recipe(folder: Path, precision: str, gpu: int | None) -> None:
    """Write what a build needs to know, and the config for the engine that it will make; None leaves it on all GPUs."""
    path = folder / "config.pbtxt"
    config = text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())
    recipe = {"precision": precision, "shapes": shape_ranges(config)}
    (folder / "1" / RECIPE_FILE).write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
    _use_tensorrt_backend(config)
    if gpu is not None:
        place_on_gpu(config, gpu)
    path.write_text(text_format.MessageToString(config), encoding="utf-8")


def _use_tensorrt_backend(config: pb.ModelConfig) -> None:
    """Triton's tensorrt backend loads 1/model.plan; onnxruntime's own options go."""
    config.backend = "tensorrt"
    config.default_model_filename = PLAN_FILE
    config.ClearField("optimization")
    for key in ("intra_op_thread_count", "inter_op_thread_count"):
        config.parameters.pop(key, None)
    for group in config.instance_group:
        group.kind = pb.ModelInstanceGroup.KIND_GPU
