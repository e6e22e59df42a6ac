"""Answers as they leave: what both clients share of a stream (gRPC, a bag exported with `stream = true`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from exeunt_client.answers import Answers
from exeunt_client.contract import ROW
from exeunt_client.protocol import decode

FINAL = "triton_final_response"
HEADERS = {"triton_grpc_error": "true"}  # errors come with their status, as those of plain requests do


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one request that left together.

    Attributes:
        rows: int64, which rows of the request.
        answers: theirs, in the order of `rows`.
    """

    rows: np.ndarray
    answers: Answers


def part_of(result: Any, outputs: Sequence[str], labels: tuple[str, ...]) -> tuple[Part | None, bool]:
    """A response of a stream: its rows, None where it brings none, and whether it is the last."""
    last = result.get_response().parameters[FINAL].bool_param
    arrays = decode(result, [*outputs, ROW])
    if ROW not in arrays:
        return None, last
    rows = arrays.pop(ROW).reshape(-1)
    return Part(rows, Answers.from_outputs(arrays, labels)), last
