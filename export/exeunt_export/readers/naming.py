"""A member's inputs under the bag's names: public names given to them, and a dimension to those without any."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from exeunt.errors import check_known
from exeunt.manifest import Tensor
from exeunt_export.features import chunks
from exeunt_export.mapped import mapped_zeros
from exeunt_export.readers.constants import constant

_CAST_ROWS = 64  # at a time


def name_inputs(model: ir.Model, names: Mapping[str, str], where: str) -> None:
    """Give a member's inputs their public names.

    Args:
        model: changed in place.
        names: member's name of an input -> public name; inputs that are not listed keep their name. Two inputs with
            the same public name become one.
        where: file, for messages.

    Raises:
        ConfigError: the member has no such input.
    """
    inputs = {value.name or "": value for value in model.graph.inputs}
    for member_name in names:
        check_known("input", member_name, inputs, f"{where}: inputs")
    # rename what stands in the way first: two names may be exchanged, and a value inside may have a public name
    values = ir.convenience.create_value_mapping(model.graph, include_subgraphs=False)
    public_names = set(names.values())
    for name, value in values.items():
        if name in names or (name in public_names and name not in inputs):
            value.name = f"{name}/renamed"
    first: dict[str, ir.Value] = {value.name or "": value for value in inputs.values()}
    for member_name, public in names.items():
        value = inputs[member_name]
        other = first.get(public)
        if other is not None and other is not value:
            ir.convenience.replace_all_uses_with(value, other)
            model.graph.inputs.remove(value)
        else:
            value.name = public
            first[public] = value


def widen_flat_inputs(model: ir.Model) -> None:
    """Let every input [rows] be [rows, 1] to the outside: a Triton model has a dimension beside the batch.

    Triton's `reshape` would do this for the native backends, but neither in its ensembles nor in engine mode.
    """
    for number, value in enumerate(list(model.graph.inputs)):
        shape = value.shape
        if shape is None or len(shape) != 1 or isinstance(shape[0], int):
            continue
        name = value.name or ""
        axes = constant(np.array([-1]), f"{name}/axes", model.graph)
        wide = ir.Value(name=name, type=value.type, shape=ir.Shape([shape[0], 1]))
        value.name = f"{name}/flat"
        flatten = ir.node("Reshape", [wide, axes], name=f"{name}/flatten")
        flatten.outputs[0].name, flatten.outputs[0].type = f"{name}/column", value.type
        ir.convenience.replace_all_uses_with(value, flatten.outputs[0])
        model.graph.inputs.remove(value)
        model.graph.inputs.insert(number, wide)
        model.graph.insert_before(next(iter(model.graph)), flatten)


def cast_to_declared(model: ir.Model, samples: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Samples cast to the types that a member declares, where no number changes; and a note on every cast.

    Floats become floats of another width, whole numbers become floats or other whole numbers, and floats whole numbers
    where they are. Bytes stay: a member that declares floats and gets bytes lacks the scaling of its pixels.

    Args:
        model: its inputs carry the public names.
        samples: public input -> [rows, ...].
    """
    cast, notes = dict(samples), []
    for value in model.graph.inputs:
        rows = cast.get(value.name or "")
        if rows is None or value.dtype is None or value.dtype == ir.DataType.STRING:
            continue
        declared = np.dtype(value.dtype.numpy())
        samples_cast = _cast(rows, declared) if rows.dtype != declared else None
        if samples_cast is not None:
            cast[value.name or ""] = samples_cast
            notes.append(f"samples of input {value.name!r} were {rows.dtype}; they are taken as {declared}")
    return cast, notes


def _cast(rows: np.ndarray, dtype: np.dtype[np.generic]) -> np.ndarray | None:
    """The same numbers in another type, in a mapped file; None where they would be others."""
    if rows.dtype == np.uint8 or dtype.kind not in "fiu":
        return None
    samples_cast = mapped_zeros(rows.shape, dtype)
    for part in chunks(len(rows), _CAST_ROWS):
        with np.errstate(invalid="ignore", over="ignore"):
            samples_cast[part] = rows[part].astype(dtype)
        if dtype.kind in "iu" and not np.array_equal(samples_cast[part], rows[part]):
            return None
    return samples_cast


def as_columns(samples: Mapping[str, np.ndarray], inputs: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Samples [rows] as [rows, 1] where an input is that wide."""
    return {
        name: sample[:, None] if sample.ndim == 1 and name in inputs and inputs[name].dims == (1,) else sample
        for name, sample in samples.items()
    }
