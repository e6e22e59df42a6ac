"""One ONNX file as a batched function: what the onnxruntime stand-in does between request and response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from exeunt.errors import ConfigError, ServingError
from exeunt.onnxruntime_errors import onnxruntime_errors
from exeunt.serving.checks.onnx_contract import ModelConfig, check_contract, numpy_type, onnx_ports

Tensors = dict[str, np.ndarray]
THREAD_PARAMETERS = ("intra_op_thread_count", "inter_op_thread_count")  # the native backend's names


class OnnxFileError(ConfigError):
    """A file that onnxruntime cannot load; the message is what is wrong with it, without its path."""


def open_session(
    path: Path, threads: Mapping[str, int] | None = None, device_id: int | None = None
) -> ort.InferenceSession:
    """Load an ONNX file.

    Args:
        path: the file.
        threads: sizes of thread pools, by THREAD_PARAMETERS; onnxruntime's own choice if left out.
        device_id: CUDA device if this onnxruntime has CUDA, or None for the CPU.

    Raises:
        OnnxFileError: missing, damaged, or with operators that onnxruntime does not have.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors come as exceptions, and warnings about a cut graph help nobody
    for key, count in (threads or {}).items():
        setattr(options, key.replace("_thread_count", "_num_threads"), count)
    try:
        return ort.InferenceSession(str(path), options, providers=_providers(device_id))
    except onnxruntime_errors() as error:
        raise OnnxFileError(f"cannot be loaded: {_first_line(error)}") from None


class OnnxModel:
    """An ONNX file, loaded and checked against its config.

    Args:
        path: the ONNX file.
        config: its config.pbtxt.
        device_id: CUDA device if this onnxruntime has CUDA, or None for the CPU.

    Raises:
        ConfigError: the file cannot be loaded, does not agree with the config, or a parameter is wrong.
    """

    def __init__(self, path: Path, config: ModelConfig, device_id: int | None = None) -> None:
        threads = {key: _threads(config, key) for key in THREAD_PARAMETERS if key in config.parameters}
        try:
            self._session = open_session(path, threads, device_id)
        except OnnxFileError as error:
            raise ConfigError(f"model {config.name!r}: {path} {error}") from None
        check_contract(config, onnx_ports(self._session.get_inputs()), onnx_ports(self._session.get_outputs()))
        self.on_gpu = "CUDAExecutionProvider" in self._session.get_providers()
        self._config = config
        self._batched = config.max_batch_size > 0

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> Tensors:
        """Run one batch.

        Args:
            inputs: every input by name, [rows, ...].
            outputs: names of the outputs to return.

        Raises:
            ServingError: the model failed on this input; says the model and onnxruntime's reason.
        """
        try:
            arrays = self._session.run(list(outputs), dict(inputs))
        except onnxruntime_errors() as error:
            raise ServingError(f"model {self._config.name!r} failed: {_first_line(error)}") from None
        return dict(zip(outputs, arrays, strict=True))

    def run_many(self, requests: Sequence[tuple[Tensors, Sequence[str]]]) -> list[Tensors | ServingError]:
        """Run several requests as one batch.

        If the batch fails, every request runs alone, so that only the one that cannot be answered gets the error.

        Args:
            requests: (inputs, names of the outputs) of each.

        Returns:
            outputs or error of each, in order.
        """
        if len(requests) > 1 and self._batched:
            try:
                return list(self._run_as_one(requests))
            except ServingError:
                pass
        return [self._run_alone(inputs, outputs) for inputs, outputs in requests]

    def zeros(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> Tensors:
        """Outputs of the declared types that say nothing; free dimensions are 1.

        Args:
            inputs: every input by name, [rows, ...].
            outputs: names of the outputs to return.
        """
        rows = [len(next(iter(inputs.values())))] if self._batched else []
        ports = {port.name: port for port in self._config.outputs}
        return {
            name: np.zeros([*rows, *(max(1, dim) for dim in ports[name].dims)], dtype=numpy_type(ports[name].type))
            for name in outputs
        }

    def _run_alone(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors | ServingError:
        try:
            return self.run(inputs, outputs)
        except ServingError as error:
            return error

    def _run_as_one(self, requests: Sequence[tuple[Tensors, Sequence[str]]]) -> list[Tensors]:
        names = [port.name for port in self._config.inputs]
        joined = {name: np.concatenate([inputs[name] for inputs, _ in requests]) for name in names}
        outputs = self.run(joined, list(dict.fromkeys(name for _, output_names in requests for name in output_names)))
        ends = np.cumsum([len(inputs[names[0]]) for inputs, _ in requests])
        for name, output in outputs.items():
            if len(output) != ends[-1]:
                raise ServingError(
                    f"model {self._config.name!r}: output {name!r} has {len(output)} rows for {ends[-1]} rows of input"
                )
        starts = ends - [len(inputs[names[0]]) for inputs, _ in requests]
        return [
            {name: outputs[name][start:end] for name in output_names}
            for (_, output_names), start, end in zip(requests, starts, ends, strict=True)
        ]


def _threads(config: ModelConfig, key: str) -> int:
    text = config.parameters[key]
    if not text.isdigit():
        raise ConfigError(f"model {config.name!r}: parameter {key} = {text!r}; allowed: a whole number from 0")
    return int(text)


def _providers(device_id: int | None) -> list[object]:
    """CUDA where it is asked for and there; KIND_AUTO on a GPU host asks for it whatever onnxruntime is installed."""
    if device_id is None or "CUDAExecutionProvider" not in ort.get_available_providers():
        return ["CPUExecutionProvider"]
    return [("CUDAExecutionProvider", {"device_id": device_id}), "CPUExecutionProvider"]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
