"""The body of an inference request over HTTP: its JSON is read, and its shapes are compared with the bytes sent."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from exeunt.gateway.refusal_errors import RefusalError, TooLargeError

HEADER_LENGTH = "Inference-Header-Content-Length"


@dataclass(slots=True)
class Body:
    """An inference request.

    Attributes:
        table: its JSON.
        tail: binary tensors behind it.
        in_binary: whether it said where the JSON ends.
    """

    table: dict[str, Any]
    tail: bytes
    in_binary: bool

    @property
    def rows(self) -> int:
        """Rows that it says it brings; 1 where it says nothing."""
        inputs = self.table["inputs"]
        return int(inputs[0]["shape"][0]) if inputs and inputs[0]["shape"] else 1

    @property
    def parameters(self) -> dict[str, Any]:
        """Its parameters."""
        return dict(self.table.get("parameters", {}))

    def written(self, parameters: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
        """The body for the server with other parameters, and the headers that belong to it.

        It is written anew from what was read, so that the server reads what was looked at here.
        """
        table = self.table | {"parameters": parameters}
        if not parameters:
            del table["parameters"]
        head = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
        return head + self.tail, {HEADER_LENGTH: str(len(head))} if self.in_binary else {}


def read_body(content: bytes, header_length: str | None, most_json_bytes: int) -> Body:
    """Read an inference request.

    Args:
        content: the body, without compression.
        header_length: the header of that name; None where all of it is JSON.
        most_json_bytes: bound of the JSON, which is read in one go while everybody else waits.

    Raises:
        RefusalError: no JSON of the protocol's form, or it claims what cannot be in it.
    """
    length = len(content)
    if header_length is not None:
        digits = header_length.isascii() and header_length.isdecimal() and len(header_length) < 19
        length = int(header_length) if digits else -1
        if not 0 < length <= len(content):
            raise RefusalError(
                f"{HEADER_LENGTH} {header_length[:40]!r}; the caller may say 1 to {len(content)}, its JSON's length"
            )
    if length > most_json_bytes:
        raise TooLargeError(
            f"{length} bytes of JSON; allowed: {most_json_bytes}; the caller may send binary tensors, "
            "the gateway's operator may set --max-json-mb"
        )
    try:
        table = json.loads(content[:length].decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise RefusalError(f"failed to parse the request JSON of the caller: {str(error)[:200]}") from None
    _check(table, len(content))
    return Body(table, content[length:], header_length is not None)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A table in which no name comes twice: the server could read the first where the gateway reads the last."""
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name comes twice")
    return table


def _check(table: Any, bytes_sent: int) -> None:
    """Refuse what breaks the protocol's form, as far as it is read here, and shapes that claim more than was sent."""
    if not isinstance(table, dict) or not isinstance(table.get("inputs"), list):
        raise RefusalError("Unable to parse 'inputs': the caller must send a list of tensors")
    if not isinstance(table.get("parameters", {}), dict):
        raise RefusalError("failed to get request params: the caller must send a table")
    for tensor in table["inputs"]:
        shape = tensor.get("shape") if isinstance(tensor, dict) else None
        if not isinstance(shape, list) or not all(type(dim) is int and 0 <= dim < 2**63 for dim in shape):
            raise RefusalError("Unable to parse 'shape': the caller must send whole numbers from 0 for every input")
        # a number takes a byte at least; the server allocates what a shape claims before it looks at the numbers
        if math.prod(shape) > bytes_sent:
            raise RefusalError(
                f"an input's shape claims {math.prod(shape):.3g} elements in a body of {bytes_sent} bytes; "
                "the caller must send as many as it claims"
            )
