"""A member's inputs as clients see them, and the check that the samples are rows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from exeunt.errors import ConfigError
from exeunt.manifest import Tensor
from exeunt_export.readers.scores import CURE_BATCH

_NUMBERS = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")


def check_inputs(model: ir.Model, samples: Mapping[str, np.ndarray], where: str, text: str) -> None:
    """Refuse inputs that have no samples, or samples that cannot be rows of what they declare."""
    inputs = list(model.graph.inputs)
    if not inputs:
        raise ConfigError(f"{where}: the graph has no input")
    for value in inputs:
        if value.name not in samples:
            raise ConfigError(
                f"{where}: input {value.name!r}: {text} hold no array of that name, only {sorted(samples)}; "
                "write an .npz with one array per input, or say which of them it is: "
                f'inputs = {{ {value.name} = "{next(iter(samples), "")}" }} in its [[member]]'
            )
        rows = samples[value.name or ""]
        if value.shape is None or len(value.shape) != rows.ndim or not rows.ndim:
            continue  # rows alone, no batch dimension, or wrong samples: reported when the model is run
        dims = tuple(d if isinstance(d, int) else -1 for d in value.shape[1:])
        check_samples(Tensor(value.name or "", _checked_dtype(value, where), dims), rows, where, text)


def public_tensor(value: ir.Value, where: str, inputs: Sequence[ir.Value]) -> Tensor:
    """An input as clients see it; ConfigError unless it has a free batch dimension and another one."""
    dtype = _checked_dtype(value, where)
    if value.shape is None or len(value.shape) == 0:
        raise ConfigError(f"{where}: input {value.name!r} has no batch dimension; {CURE_BATCH}")
    if isinstance(value.shape[0], int):
        if any(other.shape and not isinstance(other.shape[0], int) for other in inputs):
            raise ConfigError(
                f"{where}: input {value.name!r} has shape {_sizes(value.shape)}: its first axis is one of its own, of "
                f"{value.shape[0]}, where other inputs have the rows, as a state has its layers; make it inside the "
                "model, or let the samples hold one array of just this shape, which is then folded in as a constant"
            )
        raise ConfigError(
            f"{where}: input {value.name!r} has shape {_sizes(value.shape)}: its batch dimension is fixed at "
            f"{value.shape[0]}; {CURE_BATCH}"
        )
    if len(value.shape) == 1:
        raise ConfigError(f"{where}: input {value.name!r} has nothing but a batch dimension; reshape it to [rows, 1]")
    return Tensor(value.name or "", dtype, tuple(d if isinstance(d, int) else -1 for d in value.shape[1:]))


def _checked_dtype(value: ir.Value, where: str) -> str:
    if value.dtype == ir.DataType.STRING:
        raise ConfigError(
            f"{where}: input {value.name!r} holds text; a bag takes numbers: encode it before (token numbers, "
            "codes of categories), and export the model from there on"
        )
    dtype = "" if value.dtype is None else str(value.dtype.numpy())
    if dtype not in _NUMBERS:
        raise ConfigError(f"{where}: input {value.name!r} is of type {value.dtype}; allowed: {', '.join(_NUMBERS)}")
    return dtype


def _sizes(shape: ir.Shape) -> list[int | str]:
    return [d if isinstance(d, int) else str(d) for d in shape]


def check_samples(tensor: Tensor, rows: np.ndarray, where: str, text: str) -> None:
    """Raise ConfigError unless `rows` are rows of an input; `text` is key and file of the samples."""
    fits = rows.ndim == len(tensor.dims) + 1
    fits = fits and all(d in (-1, n) for d, n in zip(tensor.dims, rows.shape[1:], strict=True))
    if not fits or str(rows.dtype) != tensor.dtype:
        raise ConfigError(
            f"{where}: input {tensor.name!r} wants {tensor.dtype} of shape {['rows', *tensor.dims]}; "
            f"{text} hold {rows.dtype} of shape {list(rows.shape)}"
        )
