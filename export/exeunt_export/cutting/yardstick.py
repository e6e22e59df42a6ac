"""How much an unsplit member differs from itself: the measure for how much its segments may differ from it.

onnxruntime sums in another order for other batch sizes, threads and fusions, and the last bits of a sum depend on the
order. Where a member already differs visibly from itself, its segments cannot be asked to differ less.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from exeunt.contract import PROBABILITIES
from exeunt.errors import ConfigError
from exeunt_export import onnxfiles

TIMES = 4.0  # segments may differ from the member by so many times the difference of the member from itself
_THREADS = 2
_MOST_EXACT_BYTES = 1 << 28  # larger members are not tried in 64 bits, which doubles their size
Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class SelfDifference:
    """How much a member differs from itself when it is run in other ways.

    Attributes:
        apart: output -> largest absolute difference.
        other_labels: largest share of rows that got another label.
    """

    apart: Mapping[str, float]
    other_labels: float


def self_difference(reference: Path, feeds: Sequence[Tensors], whole: Sequence[Tensors]) -> SelfDifference:
    """Run a member in other ways: row by row, with two threads, without graph optimisation, in 64 bits where it can.

    Args:
        reference: ONNX file of the member.
        feeds: rows of each run.
        whole: its outputs for each run, by name; only these are compared.
    """
    apart, other_labels = dict.fromkeys(whole[0], 0.0), 0.0
    for runs in _in_other_ways(reference, feeds):
        for outputs, expected in zip(runs, whole, strict=True):
            for name in apart:
                apart[name] = max(apart[name], difference(outputs[name], expected[name]))
        changed = np.concatenate([other_label(*pair) for pair in zip(runs, whole, strict=True)])
        other_labels = max(other_labels, float(changed.mean()))
    return SelfDifference(apart, other_labels)


def difference(array: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference; infinite where shapes differ, or where only one of the two is finite."""
    if array.shape != expected.shape:
        return float("inf")
    one, two = array.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(one) & np.isfinite(two)
    if not np.array_equal(one[~finite], two[~finite], equal_nan=True):
        return float("inf")
    return float(np.abs(one[finite] - two[finite]).max(initial=0.0))


def other_label(outputs: Tensors, expected: Tensors) -> np.ndarray:
    """Rows whose label is another one, bool [rows]."""
    return np.asarray(outputs[PROBABILITIES].argmax(axis=1) != expected[PROBABILITIES].argmax(axis=1))


def margins(probabilities: np.ndarray) -> np.ndarray:
    """By how much a row's label leads the next one, [rows]."""
    return np.asarray(np.diff(np.sort(probabilities, axis=1)[:, -2:], axis=1)[:, 0])


def _in_other_ways(reference: Path, feeds: Sequence[Tensors]) -> Iterator[list[dict[str, np.ndarray]]]:
    """Outputs per run, once for each way; one session at a time."""
    where = str(reference)
    session = onnxfiles.open_session(reference, arena=False)
    alone = [[onnxfiles.run(session, row, where) for row in _single_rows(fed)] for fed in feeds]
    yield [{name: np.concatenate([outputs[name] for outputs in rows]) for name in rows[0]} for rows in alone]
    for threads, optimised in ((_THREADS, True), (1, False)):
        session = onnxfiles.open_session(reference, threads=threads, optimised=optimised, arena=False)
        yield [onnxfiles.run(session, fed, where) for fed in feeds]
    del session
    if sum(part.stat().st_size for part in onnxfiles.parts_of(reference)) <= _MOST_EXACT_BYTES:
        try:
            exact = _in_64_bits(reference, feeds)
        except ConfigError:
            return  # an operator, convolutions first of all, has no such kernel
        yield exact


def _single_rows(fed: Tensors) -> list[dict[str, np.ndarray]]:
    count = len(next(iter(fed.values())))
    return [{name: array[row : row + 1] for name, array in fed.items()} for row in range(count)]


def _in_64_bits(reference: Path, feeds: Sequence[Tensors]) -> list[dict[str, np.ndarray]]:
    """Outputs per run of the same graph with every float32 as float64."""
    model = onnx.load(reference)
    _widen(model.graph)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exact.onnx"
        onnx.save(model, path)
        session = onnxfiles.open_session(path, arena=False)
    wide = {input_.name for input_ in session.get_inputs() if input_.type == "tensor(double)"}
    return [
        onnxfiles.run(
            session,
            {name: array.astype(np.float64) if name in wide else array for name, array in fed.items()},
            str(reference),
        )
        for fed in feeds
    ]


def _widen(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    del graph.value_info[:]
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
            if attribute.HasField("t"):
                _widen_tensor(attribute.t)
            if attribute.HasField("g"):
                _widen(attribute.g)


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
