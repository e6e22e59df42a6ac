"""The bag's ONNX files as onnxruntime sessions, shared by all workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from exeunt.bag_parts import parts_of
from exeunt.cores import usable_cores
from exeunt.errors import ConfigError, ServingError
from exeunt.manifest import Manifest
from exeunt.onnxruntime_errors import onnxruntime_errors
from exeunt.settings import Settings

CPU = "CPUExecutionProvider"
GPU_WORKERS = 4  # streams by default: each holds the members' weights once more
WEIGHTS_SUFFIX = ".data"  # beside an ONNX file, as the export names the file of large weights
# Batches change from run to run: an exhaustive search of convolutions for every new size would stall a worker, and an
# arena that doubles would take a GPU's memory once per session
OPTIONS = {
    "CUDAExecutionProvider": {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"},
}


class Session:
    """One ONNX file, ready to run.

    Args:
        path: the file; its stem is the model's name in messages.
        intra_op_threads: threads within one run.
        providers: onnxruntime's execution providers, best first.
        streams: runs at a time that must not wait for each other. onnxruntime gives a session one stream of a GPU, so
            there each gets a session of its own; on a CPU one session runs any number at a time.

    Raises:
        ConfigError: onnxruntime or the file is missing, or a provider is not built in.
        ServingError: onnxruntime cannot load the file.
    """

    def __init__(self, path: Path, intra_op_threads: int, providers: Sequence[Any], streams: int = 1) -> None:
        self.model = path.stem
        if not path.is_file():
            raise ConfigError(f'{path}: no such file; export the bag with mode = "engine"')
        self._errors = onnxruntime_errors()
        self._open = partial(self._opened, path, intra_op_threads, [_with_options(provider) for provider in providers])
        on_cpu = _name(providers[0]) == CPU
        self.packs_later = on_cpu and path.with_name(f"{path.name}{WEIGHTS_SUFFIX}").is_file()
        sessions = [self._open(not self.packs_later) for _ in range(1 if on_cpu else streams)]
        self._session = sessions[0]
        self._free = sessions if len(sessions) > 1 else None  # taken and given back by one atomic operation each
        self.inputs = tuple(input_.name for input_ in self._session.get_inputs())
        self.outputs = tuple(output.name for output in self._session.get_outputs())

    def _opened(self, path: Path, intra_op_threads: int, providers: list[Any], packed: bool) -> Any:
        ort = _onnxruntime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = intra_op_threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        share_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
        # a worker that waits must not burn the core that another worker needs
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.disable_prepacking", "0" if packed else "1")
        try:
            return ort.InferenceSession(str(path), options, providers=providers)
        except self._errors as error:
            raise ServingError(f"model {self.model}: onnxruntime cannot load {path}: {error}") from error

    def pack(self) -> None:
        """Copy weights that lie in a mapped file into the order that the kernels like; nothing to do for others.

        A session opens at once where it only maps its weights (256 MB: 2 ms in place of 350), and runs of many rows
        take up to twice as long as with packed ones (one row: no longer). So a server starts with mapped weights and
        packs them beside its first answers. Runs under way end on the session that they began on.

        Raises:
            ServingError: onnxruntime cannot load the file any more; the mapped session stays.
        """
        if self.packs_later:
            self._session = self._open(True)
            self.packs_later = False

    def run(self, outputs: list[str], feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Run the model; thread-safe, releases the GIL.

        Arrays go in and come out without a copy. On a CPU, binding inputs and outputs costs more than it saves: one
        run of a single Relu on 16 / 100,000 / 1,000,000 floats took 5 / 16 / 108 us this way, 11 / 21 / 107 us with
        IOBinding into preallocated memory, 40 / 46 / 136 us with OrtValues (onnxruntime 1.31).

        Raises:
            ServingError: it failed; the message names the model.
        """
        session = self._session if self._free is None else self._free.pop()
        try:
            return session.run(outputs, feed)
        except self._errors as error:
            raise ServingError(f"model {self.model} failed: {error}") from error
        finally:
            if self._free is not None:
                self._free.append(session)


def sessions_of(
    manifest: Manifest, folder: Path, intra_op_threads: int, providers: Sequence[Any], streams: int = 1
) -> dict[str, Session]:
    """Every segment and heads model of a bag, by name; arguments as for `Session`.

    Raises:
        ConfigError: a file is missing or is not what the manifest says; a provider is not built in.
        ServingError: a file cannot be loaded.
    """
    built_in = _onnxruntime().get_available_providers()
    for provider in providers:
        name = _name(provider)
        if name not in built_in:
            raise ConfigError(f"providers: {name!r} is not in this onnxruntime (allowed: {', '.join(built_in)})")
    parts = {part.model: part for part in parts_of(manifest)}
    loaded = {model: Session(folder / f"{model}.onnx", intra_op_threads, providers, streams) for model in parts}
    for model, part in parts.items():
        inputs, outputs = ({tensor.name for tensor in tensors} for tensors in (part.inputs, part.outputs))
        wrong = outputs - set(loaded[model].outputs) | (set() if part.is_heads else inputs ^ set(loaded[model].inputs))
        if wrong:
            raise ConfigError(
                f"{folder / model}.onnx: tensors {', '.join(sorted(wrong))} differ from the manifest's; export again"
            )
    return loaded


def workers_of(settings: Settings) -> int:
    """Number of workers that the settings mean here: one per usable core, or a few streams of a GPU."""
    if settings.workers:
        return settings.workers
    workers = max(1, usable_cores() // (settings.intra_op_threads or 1))
    return workers if settings.providers.startswith(CPU) else min(workers, GPU_WORKERS)


def _name(provider: Any) -> str:
    return provider if isinstance(provider, str) else provider[0]


def _with_options(provider: Any) -> Any:
    """A provider that is given by name alone, with the options that the engine wants of it."""
    return (provider, OPTIONS[provider]) if isinstance(provider, str) and provider in OPTIONS else provider


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError('mode "engine" needs onnxruntime; install "exeunt[engine]"') from None
    return onnxruntime


@cache
def share_memory() -> None:
    """One arena for all sessions of the process: half the memory of one each (at batch 32: 420 instead of 820 MB)."""
    ort = _onnxruntime()
    info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(info, None)
