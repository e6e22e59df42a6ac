"""Odd requests over HTTP: JSON, and JSON with binary tensors behind it, on kept connections."""

from __future__ import annotations

import http.client
import json
import math
from collections.abc import Callable

import numpy as np

from benchmarks.fuzz import odd

LENGTH = "Inference-Header-Content-Length"
PATIENCE_S = 60.0
MOST_ELEMENTS = 2**24


class HttpCaller:
    """One caller with a kept connection.

    Args:
        url: "HOST:PORT".
        rows: good rows of the one input IMAGE.
        rng: chance.
    """

    def __init__(self, url: str, rows: np.ndarray, rng: np.random.Generator) -> None:
        self._connection = http.client.HTTPConnection(url, timeout=PATIENCE_S)
        self._rows = rows
        self._rng = rng

    def close(self) -> None:
        """End."""
        self._connection.close()

    def json_request(self) -> str:
        """One odd JSON request; the outcome in a word or two."""
        rows = self._some_rows()
        table = {"id": "7", "inputs": [self._input(rows, rows.ravel().tolist())], "parameters": self._parameters()}
        table["outputs"] = [{"name": odd.pick(self._rng, ("LABEL", "EXIT", "PROBABILITIES"))}]
        mutant = odd.mutated(self._rng, table, int(self._rng.integers(0, 4)))
        content = self._perhaps_mangled(json.dumps(mutant).encode())
        return "left out" if claims_too_much(content) else self._send(content, {})

    def binary_request(self) -> str:
        """One odd request with a binary tensor."""
        rows = self._some_rows()
        raw = rows.tobytes()
        item = self._input(rows, None)
        item["parameters"] = {"binary_data_size": len(raw)}
        table = {"inputs": [item], "parameters": self._parameters() | {"binary_data_output": True}}
        head = json.dumps(odd.mutated(self._rng, table, int(self._rng.integers(0, 3)))).encode()
        length = str(len(head))
        if self._rng.random() < 0.2:
            length = str(odd.pick(self._rng, (*odd.NUMBERS, "", "x", len(head) - 1, len(head) + 1, "1e3", "0x10")))
        if self._rng.random() < 0.2:
            raw = odd.mangled(self._rng, raw)
        return self._send(self._perhaps_mangled(head) + raw, {LENGTH: length})

    def _perhaps_mangled(self, content: bytes) -> bytes:
        return odd.mangled(self._rng, content) if self._rng.random() < 0.25 else content

    def _some_rows(self) -> np.ndarray:
        return self._rows[: int(self._rng.integers(1, 3))]

    def _input(self, rows: np.ndarray, data: list[float] | None) -> dict[str, object]:
        item: dict[str, object] = {"name": "IMAGE", "shape": list(rows.shape), "datatype": "FP32"}
        if data is not None:
            item["data"] = data
        if self._rng.random() < 0.2:
            item["shape"] = odd.shape(self._rng, list(rows.shape))
        if self._rng.random() < 0.1:
            item["datatype"] = odd.pick(self._rng, odd.DATATYPES)
        return item

    def _parameters(self) -> dict[str, object]:
        keys = [odd.pick(self._rng, odd.PARAMETERS) for _ in range(int(self._rng.integers(0, 3)))]
        return {key: odd.scalar(self._rng) for key in keys}

    def _send(self, body: bytes, headers: dict[str, str]) -> str:
        return status_of(lambda: self._post(body, headers))

    def _post(self, body: bytes, headers: dict[str, str]) -> str:
        try:
            self._connection.request("POST", "/v2/models/tiny/infer", body, headers)
            answer = self._connection.getresponse()
            text = answer.read()
        except BaseException:
            self._connection.close()
            raise
        if b"internal error" in text:  # ours, where something was not foreseen
            return f"bug: {text[:300]!r}"
        return f"HTTP {answer.status}"


def claims_too_much(content: bytes) -> bool:
    """Whether a shape in a JSON body is so large that Triton 24.10 ends: it allocates before it looks at the data."""
    try:
        inputs = json.loads(content)["inputs"]
        shapes = [item["shape"] for item in inputs if isinstance(item, dict) and "shape" in item]
        sizes = [math.prod(dim for dim in shape if isinstance(dim, int) and dim > 0) for shape in shapes]
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
    return any(size > MOST_ELEMENTS for size in sizes)


def status_of(call: Callable[[], str]) -> str:
    """What came of a call; no answer in time is "hang", a connection that was cut "cut"."""
    try:
        return call()
    except TimeoutError:
        return "hang"
    except (OSError, http.client.HTTPException) as error:
        return f"cut: {type(error).__name__}"
