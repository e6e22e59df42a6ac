"""What a config.pbtxt and an ONNX file must agree on: the rules of Triton's native onnxruntime backend.

Ours are the same, so that a repository which loads on the stand-in loads on the native backend too (read in the native
backend's `ValidateInputs`, `ValidateOutputs` and `CompareDimsSupported`): an input may be wider in the file than in the
config, an output must be exactly what the config says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from exeunt.errors import ConfigError

TRITON_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}


_NUMPY_NAMES = {"float": "float32", "double": "float64"}  # where numpy and ONNX name a type differently


def triton_type(dtype: str) -> str:
    """Triton's name of a numpy dtype: "float32" -> "TYPE_FP32"."""
    onnx_names = {numpy: onnx for onnx, numpy in _NUMPY_NAMES.items()}
    return TRITON_TYPES[f"tensor({onnx_names.get(dtype, dtype)})"]


def numpy_type(triton: str) -> np.dtype[Any]:
    """Numpy's dtype of a Triton type: "TYPE_FP32" -> float32."""
    name = triton.removeprefix("TYPE_").lower().replace("fp", "float")
    return np.dtype(object if name == "string" else name)


@dataclass(frozen=True, slots=True)
class TensorPort:
    """An input or output of a model.

    Attributes:
        name: of the tensor.
        type: Triton's name, "TYPE_FP32".
        dims: -1 where free; without the batch in a config with max_batch_size > 0, with it in an ONNX file.
        optional: a request may leave the input out.
    """

    name: str
    type: str
    dims: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The part of a config.pbtxt that the backends read.

    Attributes:
        name: of the model.
        max_batch_size: 0 where the tensors have no batch dimension.
        inputs: in the config's order.
        outputs: in the config's order.
        parameters: key -> string value.
    """

    name: str
    max_batch_size: int
    inputs: tuple[TensorPort, ...]
    outputs: tuple[TensorPort, ...]
    parameters: dict[str, str]

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> ModelConfig:
        """Read the JSON form that Triton hands to a Python backend; protobuf's `MessageToDict` writes the same."""
        return cls(
            name=config["name"],
            max_batch_size=int(config.get("max_batch_size", 0)),
            inputs=tuple(_port(tensor) for tensor in config.get("input", ())),
            outputs=tuple(_port(tensor) for tensor in config.get("output", ())),
            parameters={
                key: parameter.get("string_value", "") for key, parameter in config.get("parameters", {}).items()
            },
        )


def onnx_ports(arguments: Iterable[Any]) -> list[TensorPort]:
    """Ports of an onnxruntime session, from its `get_inputs()` or `get_outputs()`; symbolic dimensions become -1."""
    return [
        TensorPort(
            argument.name,
            TRITON_TYPES.get(argument.type, argument.type),
            tuple(d if isinstance(d, int) else -1 for d in argument.shape),
        )
        for argument in arguments
    ]


def check_contract(config: ModelConfig, inputs: Sequence[TensorPort], outputs: Sequence[TensorPort]) -> None:
    """Check a config against the ports of its ONNX file.

    Raises:
        ConfigError: names model and tensor, what the file has, and what the config says.
    """
    for key, what in disagreements(config, inputs, outputs):
        raise ConfigError(f"model {config.name!r}: config.pbtxt: {key} {what}")


def disagreements(
    config: ModelConfig, inputs: Sequence[TensorPort], outputs: Sequence[TensorPort]
) -> Iterator[tuple[str, str]]:
    """Everything in which a config and the ports of its ONNX file disagree: (key, what is wrong with it)."""
    for port in config.inputs:
        if port.optional:
            yield f"input {port.name!r}", "has `optional: true`; an ONNX file needs all its inputs"
    if len(config.inputs) != len(inputs):
        there = f"the ONNX file has {len(inputs)} ({_names(inputs)})"
        yield "input", f"holds {len(config.inputs)} tensors ({_names(config.inputs)}), {there}"
    for kind, declared, present in (("input", config.inputs, inputs), ("output", config.outputs, outputs)):
        by_name = {port.name: port for port in present}
        for port in declared:
            key = f"{kind} {port.name!r}"
            if port.name not in by_name:
                yield key, f"is not in the ONNX file, which has {_names(present)}"
                continue
            for what in _port_disagreements(port, by_name[port.name], config.max_batch_size, loose=kind == "input"):
                yield key, what


def _port_disagreements(declared: TensorPort, present: TensorPort, max_batch_size: int, loose: bool) -> Iterator[str]:
    if declared.type != present.type:
        yield f"is {declared.type}, the ONNX file has {present.type}"
    if max_batch_size > 0 and (not present.dims or present.dims[0] != -1):
        yield (
            f"can have no batch of {max_batch_size}: its first dimension in the ONNX file, {list(present.dims)}, is "
            "fixed; export with a dynamic batch, or set max_batch_size: 0"
        )
        return
    full = (-1, *declared.dims) if max_batch_size > 0 else declared.dims
    # a free dimension of the file takes any size; of an output the reader must know
    fits = len(full) == len(present.dims) and all(
        there in ((here, -1) if loose else (here,)) for here, there in zip(full, present.dims, strict=True)
    )
    if not fits:
        batch = " with the batch in front" if max_batch_size > 0 else ""
        yield f"has dims {list(full)}{batch}, the ONNX file has {list(present.dims)}"


def _port(table: Mapping[str, Any]) -> TensorPort:
    # Triton's JSON writes 64-bit numbers as numbers, protobuf's own as strings
    dims = table.get("reshape", {}).get("shape", table.get("dims", ()))
    return TensorPort(table["name"], table["data_type"], tuple(map(int, dims)), bool(table.get("optional", False)))


def _names(ports: Sequence[TensorPort]) -> str:
    return ", ".join(port.name for port in ports) or "none"
