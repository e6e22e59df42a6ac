"""ONNX files on disk: writing, opening, hashing, timing. The only module that makes onnxruntime sessions."""

from __future__ import annotations

import hashlib
import io
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from exeunt.engine.sessions import WEIGHTS_SUFFIX, share_memory
from exeunt.errors import ConfigError
from exeunt.onnxruntime_errors import onnxruntime_errors
from exeunt_export.mapped import release_pages

OPSET = 18  # of models built here; every onnxruntime backend since 2023 runs it
IR_VERSION = 10  # the newest that Triton 24.10's onnxruntime reads
_SPILLED_FROM_BYTES = 1 << 16
# Weights of more lie in a file beside the model, which onnxruntime maps and does not copy: a server starts sooner, and
# servers on one host share the pages. (Protobuf would end at 2 GiB.)
_INLINE_BYTES = 1 << 22

ort.set_default_logger_severity(3)  # its warnings on unused initializers say nothing to an operator


def save(model: ir.Model, path: Path, inline_bytes: int = _INLINE_BYTES) -> None:
    """Write `model` to `path`; weights of `inline_bytes` and more go into a file beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ir.save(model, path, external_data=f"{path.name}{WEIGHTS_SUFFIX}" if weight_bytes(model) >= inline_bytes else None)
    for value in model.graph.initializers.values():
        if isinstance(value.const_value, ir.Tensor) and isinstance(value.const_value.raw, np.ndarray):
            release_pages(value.const_value.raw)


def load(path: Path) -> ir.Model:
    """Read a file, without the types of outputs that hold dictionaries (ZipMap), which the library cannot read.

    Raises:
        errors of the file system and of both libraries; `exeunt_export.readers.graph.read` tells them.
    """
    proto = onnx.load(path, load_external_data=False)
    for value in proto.graph.output:
        if value.type.HasField("map_type") or value.type.sequence_type.elem_type.HasField("map_type"):
            value.ClearField("type")
    model = ir.from_proto(proto)
    ir.external_data.set_base_dir(model.graph, path.parent)
    return model


def map_weights(model: ir.Model, where: str) -> None:
    """Map weights that lie in files beside the model into memory, so that they are saved anew wherever it goes.

    The model is changed in place. The system reads weights page by page when they are needed, and may drop them again.

    Raises:
        ConfigError: there is no such file, it is too short, or it lies outside the model's folder.
    """
    for graph in model.graphs():
        for value in graph.initializers.values():
            outside = value.const_value
            if not isinstance(outside, ir.ExternalTensor):
                continue
            try:
                value.const_value = ir.Tensor(outside.numpy(), dtype=outside.dtype, name=outside.name)
            except (OSError, ValueError) as error:
                raise ConfigError(
                    f"{where}: weights {value.name!r} cannot be read from {outside.path}: {first_line(error)}; a file "
                    "of weights belongs in the model's folder, as it was exported"
                ) from None


def weight_bytes(model: ir.Model) -> int:
    """Size of all weights."""
    return sum(
        initializer.const_value.nbytes
        for initializer in model.graph.initializers.values()
        if initializer.const_value is not None
    )


def open_session(
    path: Path,
    *,
    threads: int = 1,
    optimised: bool = True,
    arena: bool = True,
    profile_prefix: str | None = None,
) -> ort.InferenceSession:
    """An onnxruntime session on the CPU.

    Args:
        path: the ONNX file.
        threads: within one run.
        optimised: whether onnxruntime may fuse nodes and change their layout.
        arena: whether it keeps memory between runs, as a server does; without, a run gives back what it took.
        profile_prefix: where given, graph optimisation is off and onnxruntime writes a node profile to this prefix.

    Raises:
        ConfigError: onnxruntime cannot run this graph.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as the engine runs it
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = arena
    if arena:
        share_memory()  # as the engine's sessions do
        options.add_session_config_entry("session.use_env_allocators", "1")
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile_prefix
    if profile_prefix is not None or not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except onnxruntime_errors() as error:
        raise ConfigError(f"{path}: onnxruntime cannot open this model: {first_line(error)}") from None


def spill(model: ir.Model) -> None:
    """Move a model's weights into a mapped file without a name: of many members few are in memory at a time.

    Args:
        model: changed in place; small weights stay.
    """
    large = [
        value
        for value in model.graph.initializers.values()
        if value.const_value is not None and value.const_value.nbytes >= _SPILLED_FROM_BYTES
    ]
    with tempfile.TemporaryFile() as file:
        for value in large:
            value.const_value = _append_and_map(value, file)


def _append_and_map(value: ir.Value, file: IO[bytes]) -> ir.TensorProtocol:
    """A weight, written to the end of a file and mapped from there."""
    tensor = value.const_value
    assert tensor is not None
    array = tensor.numpy()
    packed = array.dtype.kind not in "fiub" or tensor.dtype.bitwidth < 8
    if isinstance(array, np.memmap) or packed:
        return tensor
    offset = file.seek(0, io.SEEK_END)
    file.write(np.ascontiguousarray(array).data)
    file.flush()
    mapped = np.memmap(file, dtype=array.dtype, mode="r", offset=offset, shape=array.shape)
    return ir.Tensor(mapped, dtype=tensor.dtype, name=tensor.name)


def open_in_memory(model: ir.Model, where: str) -> ort.InferenceSession:
    """A session of a model that no file holds yet; through a temporary file, since protobuf ends at 2 GiB.

    Raises:
        ConfigError: onnxruntime cannot run this graph; the message names `where`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        save(model, path)
        try:
            return open_session(path, arena=False)
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(path), where)) from None


def run(session: ort.InferenceSession, feeds: Mapping[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """All outputs by name.

    Args:
        session: from `open_session`.
        feeds: arrays by name; those that the model does not take are left out.
        where: file or model, for the message.

    Raises:
        ConfigError: the graph fails on these inputs.
    """
    names = [input_.name for input_ in session.get_inputs()]
    options = ort.RunOptions()
    options.log_severity_level = 4  # the error reports a failure once, and some runs are only attempts
    try:
        values = session.run(None, {name: feeds[name] for name in names}, options)
    except onnxruntime_errors() as error:
        rows = {name: list(feeds[name].shape) for name in names}
        raise ConfigError(f"{where}: the graph fails on inputs of shape {rows}: {first_line(error)}") from None
    return dict(zip([output.name for output in session.get_outputs()], values, strict=True))


def median_us(session: ort.InferenceSession, feeds: Mapping[str, np.ndarray], budget_s: float, where: str) -> float:
    """Median time of one run in microseconds, after one to warm up.

    At least 3 runs are timed, or 1 where the budget is less than one run takes; no more are started after `budget_s`.
    """
    fed = {input_.name: feeds[input_.name] for input_ in session.get_inputs()}
    start_ns = time.perf_counter_ns()
    run(session, fed, where)
    least = 3 if time.perf_counter_ns() - start_ns < budget_s * 1e9 else 1
    times: list[int] = []
    end_ns = time.perf_counter_ns() + int(budget_s * 1e9)
    while len(times) < least or (len(times) < 200 and time.perf_counter_ns() < end_ns):
        start_ns = time.perf_counter_ns()
        session.run(None, fed)
        times.append(time.perf_counter_ns() - start_ns)
    return float(np.median(times)) / 1e3


def sha256_of(files: Mapping[str, Path]) -> str:
    """Hash over names and contents of ONNX files, weights beside them included; hexadecimal.

    Args:
        files: name -> file; only the names given here count, not where the files lie.
    """
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(name.encode() + b"\0")
        for part in parts_of(path):
            with part.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def parts_of(path: Path) -> list[Path]:
    """An ONNX file and, where it has one, the file of its weights."""
    weights = path.with_name(f"{path.name}{WEIGHTS_SUFFIX}")
    return [path, weights] if weights.exists() else [path]


def first_line(error: Exception) -> str:
    """What an error of another library says, on one line of at most 300 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."
