"""When the rows of a large request come: by plain requests all at once, by NAME_stream as they leave.

    python -m benchmarks.stream_parts --repository model_repository --rows rows.npy

asks the plain ensemble, the bag, and the bag's stream about the same rows, in turns. The bag must have been exported
with `stream = true`. Writes benchmarks/results/stream_parts.md and .json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.feedback_share import WARM_UP_REQUESTS
from benchmarks.serving.machine import machine
from exeunt.contract import full_model
from exeunt.serving.bags import bag_of
from exeunt.serving.pip_server import serve
from exeunt.tables import markdown_table
from exeunt_client import Client

RESULTS = Path(__file__).parent / "results"
SHARES = (0.5, 0.9, 1.0)
PAUSE_S = 0.1  # between two requests: time in which answered rows are finished
PLAIN, WHOLE, STREAM = "plain ensemble", "one response", "stream"


def whole_ms(client: Client, rows: np.ndarray) -> list[float]:
    """All rows come at once: the same time for every share of them."""
    start_s = time.perf_counter()
    client.infer(rows)
    return [1000.0 * (time.perf_counter() - start_s)] * len(SHARES)


def stream_ms(client: Client, rows: np.ndarray) -> list[float]:
    """When the first half of the rows, nine tenths and all of them have come."""
    start_s = time.perf_counter()
    times_ms = np.concatenate(
        [np.full(len(part.rows), 1000.0 * (time.perf_counter() - start_s)) for part in client.stream(rows)]
    )
    return [float(times_ms[int(np.ceil(share * len(rows))) - 1]) for share in SHARES]


def measured(repository: Path, rows: np.ndarray, size: int, requests: int) -> dict[str, list[float]]:
    """Serve and measure: contender -> median milliseconds by share of the rows."""
    bag = bag_of(repository).manifest.bag
    times_ms: dict[str, list[list[float]]] = {PLAIN: [], WHOLE: [], STREAM: []}
    with tempfile.TemporaryDirectory() as folder, serve(repository, state_dir=Path(folder)) as server:
        url = f"grpc://{server.grpc_url}"
        with Client(url, bag) as client, Client(url, full_model(bag)) as plain:
            for number in range(WARM_UP_REQUESTS):
                client.infer(rows[[number % len(rows)]])
            for number in range(requests):
                request_rows = rows[(np.arange(size) + number * size) % len(rows)]
                times_ms[PLAIN].append(whole_ms(plain, request_rows))
                time.sleep(PAUSE_S)
                times_ms[WHOLE].append(whole_ms(client, request_rows))
                time.sleep(PAUSE_S)
                times_ms[STREAM].append(stream_ms(client, request_rows))
                time.sleep(PAUSE_S)
    return {name: np.median(np.array(times), axis=0).tolist() for name, times in times_ms.items()}


def markdown(times_ms: dict[str, list[float]], mode: str, size: int, requests: int, about: dict[str, Any]) -> str:
    """The table, with the machine; ratios are to the plain ensemble in the same run."""
    plain_ms = times_ms[PLAIN][-1]
    lines = [[name, *(f"{ms:.0f} ms ({ms / plain_ms:.2f})" for ms in times)] for name, times in times_ms.items()]
    table = markdown_table(("", "half of the rows", "90 %", "all"), lines)
    where = ", ".join(f"{key} {value}" for key, value in about.items())
    head = f"Median of {requests} requests of {size} rows of each kind, in turns; {mode} mode, one caller."
    return "\n".join(["# When the rows of a large request come", "", head, "", table, "", f"Machine: {where}.", ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, required=True, help="with one bag that has a stream")
    parser.add_argument("--rows", type=Path, required=True, help=".npy file, first axis = rows")
    parser.add_argument("--size", type=int, default=64, help="rows of a request (64)")
    parser.add_argument("--requests", type=int, default=60, help="of each contender (60)")
    args = parser.parse_args(argv)
    about = machine()
    times_ms = measured(args.repository, np.load(args.rows), args.size, args.requests)
    mode = bag_of(args.repository).manifest.mode
    page = markdown(times_ms, mode, args.size, args.requests, about)
    print(page)
    RESULTS.joinpath("stream_parts.md").write_text(page, encoding="utf-8")
    document = {"machine": about, "mode": mode, "rows": args.size, "shares": SHARES, "ms": times_ms}
    RESULTS.joinpath("stream_parts.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
