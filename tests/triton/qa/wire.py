"""Bytes on a socket, as no good client sends them: HTTP without a client library."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

import numpy as np

LENGTH = "Inference-Header-Content-Length"


def call(
    url: str, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """Status and body of one call."""
    connection = http.client.HTTPConnection(url, timeout=60)
    try:
        connection.request(method, path, body or None, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def infer(url: str, body: bytes | dict[str, Any], model: str = "tiny", **headers: str) -> tuple[int, str]:
    """Status and text of an inference call.

    Args:
        url: "HOST:PORT".
        body: bytes as they are, or what is to be sent as JSON.
        model: whom to ask.
        headers: of the call, with underscores for hyphens.
    """
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    status, text = call(url, "POST", f"/v2/models/{model}/infer", content, named)
    return status, text.decode(errors="replace")


def tensor(rows: np.ndarray, name: str = "IMAGE", datatype: str = "FP32", **more: Any) -> dict[str, Any]:
    """An input as JSON; `more` replaces or adds fields."""
    table = {"name": name, "shape": list(rows.shape), "datatype": datatype, "data": rows.ravel().tolist()}
    return table | more


def binary(rows: np.ndarray, size: int | None = None, **fields: Any) -> tuple[dict[str, Any], bytes]:
    """A request whose one input follows in binary: its JSON and the raw bytes. `size` is what it says of its length."""
    raw = rows.tobytes()
    parameters = {"binary_data_size": len(raw) if size is None else size}
    item = {"name": "IMAGE", "shape": list(rows.shape), "datatype": "FP32", "parameters": parameters}
    return {"inputs": [item | fields]}, raw


def infer_binary(
    url: str, rows: np.ndarray, header_length: int | None = None, cut: int = 0, **fields: Any
) -> tuple[int, str]:
    """A binary call; `header_length` replaces the true length of its JSON, `cut` leaves out bytes at the end."""
    size = fields.pop("size", None)
    table, raw = binary(rows, size, **fields)
    head = json.dumps(table).encode()
    length = len(head) if header_length is None else header_length
    content = head + raw[: len(raw) - cut]
    status, text = call(url, "POST", "/v2/models/tiny/infer", content, {LENGTH: str(length)})
    return status, text.decode(errors="replace")


def send_part(url: str, head: str, body: bytes) -> socket.socket:
    """A connection on which a request was begun; the caller closes it."""
    host, port = url.split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.sendall(head.encode() + body)
    return connection
