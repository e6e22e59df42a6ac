"""What NVIDIA's native backends can do beyond the plain configs: TensorRT, members spread over GPUs, ranked segments.

Works on a repository that export wrote, in place: nothing here changes a model, a name or the manifest. Field names are
those of Triton's onnxruntime backend (its README and src/onnxruntime.cc) and of model_config.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from exeunt.bag_parts import parts_of
from exeunt.errors import ConfigError, check_known
from exeunt.manifest import Manifest
from exeunt.serving.launch import SLOT
from exeunt.whole_files import replacing

FORMATS = ("onnx", "tensorrt")
ACCELERATORS = ("none", "tensorrt")
PRECISIONS = {"float32": "FP32", "float16": "FP16"}
RANK_STEP = 10  # a segment one cut deeper gets its turn a tenth as often while both wait
_WORKSPACE_BYTES = 2**30
_OPTIMAL_SHARE = 4  # TensorRT tunes for max_batch_size / 4 rows: tickets are rarely full


@dataclass(frozen=True, slots=True)
class NativeOptions:
    """Options of the native backends.

    Attributes:
        format: "tensorrt" serves engines in place of ONNX files; see exeunt_export.writing.tensorrt.
        accelerator: "tensorrt" lets onnxruntime hand what it can to TensorRT; engines are built at the first start.
        precision: of TensorRT's engines, "float32" or "float16".
        engine_cache: folder for the engines, as the server sees it; on the state volume, so that they outlast it.
        gpus: members are dealt out to these GPUs in turn; empty leaves every model on all GPUs.
        rank_segments: early segments before late ones, by the rate limiter, so that work for answered inputs does not
            delay waiting ones. The server needs `exeunt serve --rate-slots N`, or the container's option of that name.
    """

    format: str = "onnx"
    accelerator: str = "none"
    precision: str = "float32"
    engine_cache: str = "/state/tensorrt"
    gpus: tuple[int, ...] = ()
    rank_segments: bool = False

    def check(self, where: str) -> None:
        """Raise ConfigError, naming `where`, unless every value is allowed."""
        check_known("format", self.format, FORMATS, where)
        check_known("accelerator", self.accelerator, ACCELERATORS, where)
        if self.format == self.accelerator == "tensorrt":
            raise ConfigError(f"{where}: format and accelerator are both 'tensorrt'; allowed: one of them")
        check_known("precision", self.precision, PRECISIONS, where)
        if self.precision != "float32" and "tensorrt" not in (self.format, self.accelerator):
            raise ConfigError(f"{where}: precision {self.precision!r} needs format or accelerator 'tensorrt'")
        if any(gpu < 0 for gpu in self.gpus) or len(set(self.gpus)) < len(self.gpus):
            raise ConfigError(f"{where}: gpus {list(self.gpus)}; allowed: different numbers from 0")


def adapt_configs(repository: Path, manifest: Manifest, native: NativeOptions) -> list[str]:
    """Rewrite the configs of a bag's ONNX models.

    Returns:
        names of the models whose configs changed.

    Raises:
        ConfigError: an option is not allowed, or mode "engine", whose segments Triton does not run.
    """
    native.check(str(repository))
    if manifest.mode != "ensemble":
        raise ConfigError(
            f"{repository}: {manifest.bag} has mode {manifest.mode!r}: its segments are not Triton models"
        )
    changed = []
    for model, member, depth in _onnx_models(manifest):
        path = repository / model / "config.pbtxt"
        if not path.exists():
            continue  # the baseline was not exported
        config = text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())
        before = config.SerializeToString(deterministic=True)
        if native.gpus:
            place_on_gpu(config, native.gpus[member % len(native.gpus)])
        if native.accelerator == "tensorrt":
            _accelerate_by_tensorrt(config, model, native)
        if native.rank_segments and depth:
            _rank_by_depth(config, depth)
        if config.SerializeToString(deterministic=True) != before:
            with replacing(path) as file:
                file.write(text_format.MessageToString(config).encode())
            changed.append(model)
    return changed


def _onnx_models(manifest: Manifest) -> Iterator[tuple[str, int, int]]:
    """(ONNX model, number of the member it goes with, depth or 0 for unsplit members)."""
    for part in (part for part in parts_of(manifest) if part.in_triton):
        yield part.model, part.number, part.depth or 1  # an answer waits for heads: they rank with the first segments
    yield from ((member.model, number, 0) for number, member in enumerate(manifest.members) if member.model is not None)


def place_on_gpu(config: pb.ModelConfig, gpu: int) -> None:
    """Put every instance of a model on one GPU."""
    for group in config.instance_group:
        group.kind = pb.ModelInstanceGroup.KIND_GPU
        del group.gpus[:]
        group.gpus.append(gpu)


def _accelerate_by_tensorrt(config: pb.ModelConfig, model: str, native: NativeOptions) -> None:
    accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
    del accelerators[:]
    accelerator = accelerators.add(name="tensorrt")
    accelerator.parameters["precision_mode"] = PRECISIONS[native.precision]
    accelerator.parameters["max_workspace_size_bytes"] = str(_WORKSPACE_BYTES)
    accelerator.parameters["trt_engine_cache_enable"] = "1"
    accelerator.parameters["trt_engine_cache_path"] = native.engine_cache
    accelerator.parameters["trt_engine_cache_prefix"] = model  # segments share the folder
    accelerator.parameters["trt_timing_cache_enable"] = "1"
    accelerator.parameters["trt_timing_cache_path"] = native.engine_cache
    # without a range, each new batch size would stop the model for a new engine
    for which, shapes in shape_ranges(config).items():
        accelerator.parameters[f"trt_profile_{which}_shapes"] = shapes


def shape_ranges(config: pb.ModelConfig) -> dict[str, str]:
    """TensorRT's range of batches: "min", "opt", "max" -> "INPUT:1x3x32x32,..."."""
    rows = {"min": 1, "opt": max(1, config.max_batch_size // _OPTIMAL_SHARE), "max": config.max_batch_size}
    return {
        which: ",".join(f"{tensor.name}:{'x'.join(map(str, (batch, *tensor.dims)))}" for tensor in config.input)
        for which, batch in rows.items()
    }


def _rank_by_depth(config: pb.ModelConfig, depth: int) -> None:
    for group in config.instance_group:
        del group.rate_limiter.resources[:]
        resource = group.rate_limiter.resources.add(name=SLOT, count=1)
        setattr(resource, "global", True)  # a keyword of Python: one pool for all models and devices
        group.rate_limiter.priority = RANK_STEP ** (depth - 1)
