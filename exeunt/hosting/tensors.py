"""Between tensors and the core's nouns: requests' inputs in, answers' outputs out. No Triton in here."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from exeunt import contract
from exeunt.deciding.request import AnswerArrays
from exeunt.errors import ExeuntError, OverloadedError, RequestError, ServingError
from exeunt.manifest import Manifest

_CODES = {kind.triton_code for kind in (RequestError, OverloadedError, ServingError)}


def check_inputs(manifest: Manifest, inputs: Mapping[str, np.ndarray]) -> int:
    """Rows of a client request.

    Raises:
        RequestError: an input is missing, or the inputs disagree on the number of rows.
    """
    for tensor in manifest.inputs:
        if tensor.name not in inputs:
            expected = ", ".join(input_.name for input_ in manifest.inputs)
            raise RequestError(f"input {tensor.name!r} is missing; expected inputs: {expected}")
    rows = {name: len(input_) for name, input_ in inputs.items()}
    if len(set(rows.values())) != 1:
        raise RequestError(f"expected the same number of rows in every input, got {rows}")
    return next(iter(rows.values()))


def free_dims(manifest: Manifest, inputs: Mapping[str, np.ndarray]) -> tuple[tuple[int, ...], ...] | None:
    """Shapes of a row where the bag leaves dimensions free, else None: requests that differ cannot share a batch."""
    if all(-1 not in tensor.dims for tensor in manifest.inputs):
        return None
    return tuple(inputs[tensor.name].shape[1:] for tensor in manifest.inputs)


def nan_rows(inputs: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Rows that hold NaN in a floating input, bool [rows]; None, cheaply, where no row does."""
    with_nan = None
    for input_ in inputs.values():
        if input_.dtype.kind == "f" and np.isnan(input_.sum()):  # also where +inf meets -inf: looked at closely below
            rows = np.isnan(input_.reshape(len(input_), -1)).any(axis=1)
            with_nan = rows if with_nan is None else with_nan | rows
    return with_nan


def answer_tensors(answer: AnswerArrays, top: int = 0) -> dict[str, np.ndarray]:
    """The public model's outputs, by name, in the contract's dtypes; all but PROBABILITIES [rows, 1].

    Args:
        answer: of one request.
        top: width of TOP_LABELS and TOP_PROBABILITIES, which are left out where it is 0.
    """
    tensors = {
        contract.PROBABILITIES: answer.probabilities,
        contract.LABEL: answer.label[:, None],
        contract.EXIT: answer.exit[:, None],
        contract.REASON: answer.reason[:, None],
        contract.RISK: answer.risk[:, None],
    }
    return tensors | _top(answer, top) if top else tensors


def stream_name(stream: np.ndarray) -> int:
    """The tensor STREAM, int64 [rows, 1] of one value, as a number.

    Raises:
        RequestError: it is something else.
    """
    if stream.dtype != np.int64 or stream.ndim != 2 or not stream.size or (stream != stream.flat[0]).any():
        raise RequestError(
            f"{contract.STREAM}: expected int64 [rows, 1] of one value, got {stream.dtype} {stream.shape}"
        )
    return int(stream.flat[0])


def part_tensors(rows: np.ndarray, rest: int) -> dict[str, np.ndarray]:
    """The outputs that the exit controller adds to a part of an answer, int64 [rows, 1] each.

    Args:
        rows: indices of the request's rows.
        rest: name of what is left; 0 = nothing.
    """
    return {contract.ROW: rows[:, None].astype(np.int64), contract.REST: np.full((len(rows), 1), rest, dtype=np.int64)}


def coded(error: ExeuntError) -> str:
    """An error's text with Triton's code before it; see `decoded`."""
    return f"{error.triton_code}: {error}"


def decoded(text: str) -> tuple[str, str]:
    """Triton's code and the text of an error; INTERNAL where the text names none."""
    code, colon, rest = text.partition(": ")
    return (code, rest) if colon and code in _CODES else ("INTERNAL", text)


def _top(answer: AnswerArrays, top: int) -> dict[str, np.ndarray]:
    """The `top` most probable labels, the lower one first where they tie, as LABEL does; -1 where LABEL is."""
    order = np.argsort(-answer.probabilities, axis=1, kind="stable")[:, :top]
    labels = np.where(answer.label[:, None] < 0, -1, order).astype(np.int64)
    probabilities = np.take_along_axis(answer.probabilities, order, axis=1)
    return {contract.TOP_LABELS: labels, contract.TOP_PROBABILITIES: probabilities}
