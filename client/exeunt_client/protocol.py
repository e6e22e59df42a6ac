"""What both clients share: addresses, what a model takes and gives, tensors on the wire, errors.

Nothing here talks to a server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, triton_to_np_dtype

from exeunt_client.contract import ANSWER_DTYPES, PROBABILITIES, TOP_DTYPES
from exeunt_client.errors import ClientError, OverloadedError, RequestError, ServingError

LABELS_PARAMETER = "labels"  # config.pbtxt parameter of the public model: a JSON list of label names
Inputs = np.ndarray | Mapping[str, np.ndarray]  # one array for a model of one input, else name -> array

_READ = ANSWER_DTYPES | TOP_DTYPES
_REFUSED = {"INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "OUT_OF_RANGE", "400", "404", "409"}
_OVERLOADED = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "503", "429"}
_UNREACHABLE = ("failed to connect", "connection refused", "socket closed", "connection reset", "dns resolution")
_NOT_GRPC = ("failed parsing http/2", "socket closed")  # what an HTTP port makes of a gRPC client
NOT_HTTP = "no HTTP server answers there; is it the gRPC port?"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    >>> Address.parse("grpc://127.0.0.1:8001")
    Address(protocol='grpc', host='127.0.0.1:8001', tls=False)
    """

    protocol: Literal["grpc", "http"]
    host: str  # "name:port"
    tls: bool

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read `grpc://`, `grpcs://`, `http://` or `https://` with host and port.

        Raises:
            RequestError: another scheme, or no port.
        """
        scheme, separator, host = url.partition("://")
        host = host.rstrip("/")
        if not separator or scheme not in ("grpc", "grpcs", "http", "https"):
            raise RequestError(f"url {url!r}; allowed: grpc://HOST:PORT or http://HOST:PORT (with TLS: grpcs, https)")
        if not host.rpartition(":")[2].isdigit():
            raise RequestError(f"url {url!r} names no port; Triton's usual ones are 8000 (http) and 8001 (grpc)")
        return cls("grpc" if scheme.startswith("grpc") else "http", host, tls=scheme in ("grpcs", "https"))


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a model: `shape` includes the batch; -1 where free."""

    name: str
    dtype: str  # Triton's name, "FP32"
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives, as its server describes it.

    Attributes:
        model: its name.
        inputs: its inputs.
        outputs: those of its outputs that an answer is read from.
        labels: label names; empty where the server does not tell.
        classes: number of classes of PROBABILITIES; 0 where the server does not tell.
    """

    model: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    labels: tuple[str, ...]
    classes: int = 0

    @classmethod
    def from_server(cls, metadata: Mapping[str, Any], config: Mapping[str, Any]) -> Signature:
        """Read a server's model metadata and model config, both as JSON of either protocol."""
        config = config.get("config", config)  # gRPC wraps it
        names = config.get("parameters", {}).get(LABELS_PARAMETER, {}).get("string_value")
        return cls(
            model=metadata["name"],
            inputs=tuple(
                InputSpec(entry["name"], entry["datatype"], tuple(int(dim) for dim in entry["shape"]))
                for entry in metadata["inputs"]
            ),
            outputs=tuple(output["name"] for output in metadata["outputs"] if output["name"] in _READ),
            labels=tuple(json.loads(names)) if names else (),
            classes=_classes(metadata["outputs"]),
        )

    def names(self, labels: Sequence[str] | None) -> tuple[str, ...]:
        """Label names: those given, else the server's.

        Raises:
            RequestError: not one name for each class of the model.
        """
        if labels is None:
            return self.labels
        if self.classes and len(labels) != self.classes:
            raise RequestError(f"labels: {len(labels)} of them, but model {self.model!r} has {self.classes} classes")
        return tuple(labels)

    def named(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """The caller's inputs by name, checked.

        Raises:
            RequestError: an input is missing, unknown, or of a wrong dtype or shape.
        """
        if isinstance(inputs, np.ndarray):
            if len(self.inputs) != 1:
                names = ", ".join(port.name for port in self.inputs)
                raise RequestError(f"model {self.model!r} takes {len(self.inputs)} inputs ({names}); pass a mapping")
            inputs = {self.inputs[0].name: inputs}
        specs = {port.name: port for port in self.inputs}
        for name in inputs:
            if name not in specs:
                raise RequestError(f"input {name!r} is unknown to model {self.model!r}; it takes {sorted(specs)}")
        for name, port in specs.items():
            if name not in inputs:
                raise RequestError(f"input {name!r} of model {self.model!r} is missing; got {sorted(inputs)}")
            _check(port, inputs[name])
        return dict(inputs)


def _classes(outputs: Sequence[Mapping[str, Any]]) -> int:
    dims = [output.get("shape", ()) for output in outputs if output["name"] == PROBABILITIES]
    return max(0, int(dims[0][-1])) if dims and len(dims[0]) else 0


def _check(port: InputSpec, array: np.ndarray) -> None:
    dtype = np_to_triton_dtype(array.dtype)
    if dtype != port.dtype:
        expected = np.dtype(triton_to_np_dtype(port.dtype)).name
        raise RequestError(f"input {port.name!r} is {array.dtype}; expected {expected}")
    fits = array.ndim == len(port.shape) and all(
        want in (-1, size) for want, size in zip(port.shape, array.shape, strict=True)
    )
    if not fits:
        raise RequestError(f"input {port.name!r} has shape {array.shape}; expected {port.shape} (-1: free)")


def encode(protocol: ModuleType, inputs: Mapping[str, np.ndarray]) -> list[Any]:
    """Arrays as the InferInput objects of `tritonclient.grpc` or `tritonclient.http`."""
    encoded = []
    for name, array in inputs.items():
        tensor = protocol.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(np.ascontiguousarray(array))
        encoded.append(tensor)
    return encoded


def requested(protocol: ModuleType, outputs: Sequence[str]) -> list[Any]:
    """Output names as InferRequestedOutput objects of the same module."""
    return [protocol.InferRequestedOutput(name) for name in outputs]


def decode(result: Any, outputs: Sequence[str]) -> dict[str, np.ndarray]:
    """Output tensors of a tritonclient result, those that are there."""
    arrays = {name: result.as_numpy(name) for name in outputs}
    return {name: array for name, array in arrays.items() if array is not None}


def translate(error: InferenceServerException, what: str) -> ClientError:
    """A tritonclient error as the exeunt error that says who must act, with the server's message.

    Args:
        error: what tritonclient raised.
        what: model and address, for the message.

    Returns:
        RequestError for refusals, OverloadedError where the server takes nothing now, else ServingError.
    """
    status = str(error.status() or "").removeprefix("StatusCode.")
    message = f"{what}: {error.message()}"
    if any(phrase in str(error.message()).lower() for phrase in _UNREACHABLE):
        hint = "; is it the HTTP port?" if any(phrase in str(error.message()).lower() for phrase in _NOT_GRPC) else ""
        return ServingError(f"{what}: no server answers: {error.message()}{hint}")
    if status in _REFUSED:
        return RequestError(message)
    if status in _OVERLOADED:
        return OverloadedError(message)
    return ServingError(f"{message} ({status or 'no status'})")
