"""`quantize = "int8"`: members turned into 8-bit integers before they are cut, by onnxruntime's static quantisation.

Weights and activations become integers (QDQ format), the ranges of activations taken from the bag's own samples. The
last layer and what follows it stay float: 256 steps of a score would make ties of close classes.
"""

from __future__ import annotations

import dataclasses
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from exeunt.contract import PROBABILITIES
from exeunt.errors import ConfigError
from exeunt.onnxruntime_errors import onnxruntime_errors
from exeunt_export import nodecosts, onnxfiles
from exeunt_export.export_progress import Stages
from exeunt_export.features import chunks
from exeunt_export.planning.opening import OpenedBag
from exeunt_export.planning.plan import MeasuredMember
from exeunt_export.readers import graph, integers
from exeunt_export.readers.graph import MemberGraph

INT8 = "int8"
_MOST_ROWS = 256  # samples that ranges are taken from
_BATCH = 32
# the quantiser is Python code: it fails in Python's own ways too
_ERRORS: tuple[type[Exception], ...] = (*onnxruntime_errors(), KeyError, AssertionError)
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class FloatMember:
    """A member before it was quantised.

    Attributes:
        probabilities: of the float member on the report rows, float32 [rows, classes].
        weight_bytes: of the float member.
        total_us: median time of one row of the float member, one thread.
    """

    probabilities: np.ndarray
    weight_bytes: int
    total_us: float


def quantise_members(opened: OpenedBag, stages: Stages) -> tuple[OpenedBag, dict[str, FloatMember]]:
    """Quantise the members for which the bag file asks that.

    Returns:
        the bag with those members in integers, timed again; what they were before, by name.

    Raises:
        ConfigError: onnxruntime cannot quantise a member, or it is quantised already.
    """
    numbers = [
        number for number, member in enumerate(opened.bag.members) if (member.quantize or opened.bag.quantize) == INT8
    ]
    if not numbers:
        return opened, {}
    members, float_members = list(opened.members), {}
    stages.at("quantize", 0, len(numbers))
    for members_done, number in enumerate(numbers, start=1):
        measured = members[number]
        rows = opened.rows_of(measured.member)
        float_members[measured.member.name] = FloatMember(
            _probabilities(measured.member, {name: array[opened.parts.report] for name, array in rows.items()}),
            onnxfiles.weight_bytes(measured.member.model),
            measured.costs.total_us,
        )
        int8_member = quantise_member(
            measured.member, {name: array[opened.parts.ramps] for name, array in rows.items()}
        )
        times = opened.bag.cuts.times
        members[number] = MeasuredMember.of(
            int8_member, nodecosts.measure(int8_member.model, rows, int8_member.where, times)
        )
        stages.at("quantize", members_done, len(numbers))
    return dataclasses.replace(opened, members=tuple(members)), float_members


def quantise_member(member: MemberGraph, rows: Mapping[str, np.ndarray]) -> MemberGraph:
    """The member in 8-bit integers, QDQ format, unsigned activations and signed weights by channel.

    Weights use 7 bits: on x86 processors without VNNI sums of two products of 8 bits would saturate, and a member has
    to say the same on every host.

    Args:
        member: a float classifier.
        rows: real inputs, [rows, ...], to take ranges from.

    Raises:
        ConfigError: onnxruntime cannot quantise it, it is quantised already, or it has exits of its own.
    """
    if integers.is_quantised(member.model):
        raise ConfigError(
            f"{member.where}: quantize = {INT8!r}, but it is quantised already; leave quantize out for it"
        )
    if member.exits:
        raise ConfigError(
            f"{member.where}: quantize = {INT8!r} and exits: ranges of exits of its own are not known here; quantise "
            "the file itself and leave quantize out for it"
        )
    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, output_path = (Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "made"))
        onnxfiles.save(member.model, plain)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns about shapes and about deprecated parts of itself
                quant_pre_process(plain, prepared, skip_symbolic_shape=True)
                quantize_static(
                    prepared,
                    output_path,
                    _Rows(rows),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    reduce_range=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    nodes_to_exclude=_last_layer(prepared),
                )
        except _ERRORS as error:
            message = onnxfiles.first_line(error)
            raise ConfigError(
                f"{member.where}: onnxruntime cannot quantise this member: {message}; leave quantize out for it"
            ) from error
        model = graph.read(output_path)
        for value in model.graph.initializers.values():  # their file is about to go
            if value.const_value is not None:
                value.const_value = ir.tensor(np.array(value.const_value.numpy()), name=value.name)
    (output,) = model.graph.outputs
    output.type, output.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["rows", member.classes])
    assert output.name == PROBABILITIES  # quantising keeps the names of inputs and outputs
    return dataclasses.replace(member, model=model)


class _Rows(CalibrationDataReader):  # type: ignore[misc]
    """The samples, some at a time, as onnxruntime asks for them."""

    def __init__(self, rows: Mapping[str, np.ndarray]) -> None:
        count = min(_MOST_ROWS, len(next(iter(rows.values()))))
        self._parts: Iterator[dict[str, np.ndarray]] = (
            {name: row[part] for name, row in rows.items()} for part in chunks(count, _BATCH)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next inputs by name; None at the end."""
        return next(self._parts, None)


def _last_layer(path: Path) -> list[str]:
    """Names of the last layer's node and of all that follow it."""
    nodes = list(ir.load(path).graph)
    last = max((number for number, node in enumerate(nodes) if node.op_type in _LAYERS), default=len(nodes))
    return [node.name or "" for node in nodes[last:]]


def _probabilities(member: MemberGraph, rows: Mapping[str, np.ndarray]) -> np.ndarray:
    session = onnxfiles.open_in_memory(member.model, member.where)
    count = len(next(iter(rows.values())))
    parts = [
        onnxfiles.run(session, {name: row[part] for name, row in rows.items()}, member.where)[PROBABILITIES]
        for part in chunks(count, _BATCH)
    ]
    return np.concatenate(parts)
