"""Is the server alive, told by a real inference: `python3 -m exeunt.serving.probe`, the container's healthcheck.

Readiness alone is not enough: with the exit controller's process dead, Triton before 26.04 goes on to say that it is
ready (reference: Triton facts, 2.2). One row of zeros with `exit = never` runs every member and every vote, and stays
outside the promise. Needs neither numpy nor any other package, so that it starts quickly.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from exeunt.contract import LABEL, PARAMETER_EXIT, exit_model
from exeunt.errors import ConfigError, ServingError
from exeunt.serving.bags import bag_names

WIDTHS_BYTES = {
    "BOOL": 1,
    "INT8": 1,
    "UINT8": 1,
    "INT16": 2,
    "UINT16": 2,
    "FP16": 2,
    "BF16": 2,
    "INT32": 4,
    "UINT32": 4,
    "FP32": 4,
    "INT64": 8,
    "UINT64": 8,
    "FP64": 8,
}
_BUSY = 503  # UNAVAILABLE: the controller itself answered that it is full or draining, so it is alive


def probe(address: str, bag: str, timeout_s: float = 5.0) -> str:
    """Ask a server for a full vote.

    Args:
        address: "HOST:PORT" of Triton's HTTP endpoint.
        bag: the public model.
        timeout_s: of each of the four calls.

    Returns:
        what it found, for people.

    Raises:
        ServingError: the server, the exit controller or a member does not answer, or not with what was asked for.
    """
    for path in ("/v2/health/ready", f"/v2/models/{exit_model(bag)}/ready"):
        call(address, "GET", path, timeout_s)
    model = json.loads(call(address, "GET", f"/v2/models/{bag}", timeout_s)[1])
    head, body = _row_of_zeros(model)
    status, answer = call(address, "POST", f"/v2/models/{bag}/infer", timeout_s, head, body)
    if status == _BUSY:
        return f"{bag}: alive, and refuses newcomers for now: {answer.decode(errors='replace')[:200]}"
    try:
        label = json.loads(answer)["outputs"][0]["data"][0]
    except (ValueError, KeyError, IndexError, TypeError):
        raise ServingError(f"{bag}: an answer without {LABEL}: {answer.decode(errors='replace')[:200]}") from None
    return f"{bag}: alive, label {label}"


def _row_of_zeros(model: dict[str, Any]) -> tuple[bytes, bytes]:
    """Head and body of an inference request for one row of zeros, in KServe's binary form."""
    inputs, body = [], b""
    for tensor in model["inputs"]:
        shape = [1, *(1 if dim < 0 else dim for dim in tensor["shape"][1:])]
        size = math.prod(shape) * WIDTHS_BYTES[tensor["datatype"]]
        body += bytes(size)
        parameters = {"binary_data_size": size}
        inputs.append(
            {"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape, "parameters": parameters}
        )
    request = {"inputs": inputs, "outputs": [{"name": LABEL}], "parameters": {PARAMETER_EXIT: "never"}}
    return json.dumps(request).encode(), body


def call(
    address: str, method: str, path: str, timeout_s: float = 5.0, head: bytes = b"", body: bytes = b""
) -> tuple[int, bytes]:
    """One call of Triton's HTTP endpoint: status and content; `head` is the JSON of an inference, `body` its tensors.

    Raises:
        ServingError: nobody answers, or the status is neither 200 nor, of an inference, that the server is busy.
    """
    import http.client  # here: the supervisor imports this file before it starts the server

    headers = {"Inference-Header-Content-Length": str(len(head))} if head else {}
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        connection.request(method, path, head + body or None, headers)
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise ServingError(f"{method} {address}{path}: {error or type(error).__name__}") from None
    finally:
        connection.close()
    if response.status != 200 and not (response.status == _BUSY and method == "POST"):
        raise ServingError(
            f"{method} {address}{path}: status {response.status}: {content.decode(errors='replace')[:400]}"
        )
    return response.status, content


def main(arguments: list[str] | None = None) -> int:
    """Probe every bag of a repository; 0 if all are alive, else 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python3 -m exeunt.serving.probe", description="One real inference per bag of a repository."
    )
    parser.add_argument("repository", type=Path, help="model repository, to find the bags' names")
    parser.add_argument("--address", default="127.0.0.1:8000", help="HOST:PORT of Triton's HTTP endpoint")
    parser.add_argument("--timeout-s", type=float, default=5.0, help="seconds each call may take")
    args = parser.parse_args(arguments)
    try:
        for bag in bag_names(args.repository):
            print(probe(args.address, bag, args.timeout_s))
    except (ConfigError, ServingError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
