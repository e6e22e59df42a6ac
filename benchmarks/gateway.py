"""What the gateway costs: the same calls straight and through it, by turns.

    python -m benchmarks.gateway [--rounds 5] [--calls 400]

A bag of two tiny nets in engine mode, so that the calls themselves cost little; one caller, one row a call, then 16
callers. Counted are the latency that callers see and the time that the gateway's process keeps a core busy. Writes
benchmarks/results/gateway.md.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient import grpc, http

from benchmarks.cpu_time import cpu_time_s
from benchmarks.serving.machine import machine
from exeunt.serving.pip_server import serve
from exeunt.tables import markdown_table
from exeunt_export.export_bag import export_bag
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag
from tests.gateway.running import Gateway

RESULT = Path(__file__).parent / "results/gateway.md"
KINDS: dict[str, Any] = {"grpc": grpc, "http": http}
CALLERS = (1, 16)
WARM_UP = 50


def latencies_ms(protocol: str, url: str, rows: np.ndarray, callers: int, calls: int) -> list[float]:
    """Of so many calls, made by so many callers who ask again as soon as they have an answer."""
    spent_ms: list[float] = []

    def call() -> None:
        kind = KINDS[protocol]
        image = kind.InferInput("IMAGE", list(rows.shape), "FP32").set_data_from_numpy(rows)
        with kind.InferenceServerClient(url) as client:
            for _ in range(calls // callers):
                begun_s = time.perf_counter()
                client.infer("tiny", [image])
                spent_ms.append(1e3 * (time.perf_counter() - begun_s))

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return spent_ms


def measure(rounds: int, calls: int) -> list[list[str]]:
    """Rows of the table."""
    rows, lines = noise_rows(1, 5, 16), []
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        export_bag(tiny_bag(Path(folder), mode="engine", members=2), repository)
        with (
            serve(repository, state_dir=Path(folder) / "state") as server,
            Gateway.before(server, repository) as gateway,
        ):
            for protocol in KINDS:
                urls = {where: getattr(one, f"{protocol}_url") for where, one in (("", server), ("gateway", gateway))}
                for url in urls.values():
                    latencies_ms(protocol, url, rows, 1, WARM_UP)
                for callers in CALLERS:
                    times_ms: dict[str, list[float]] = {where: [] for where in urls}
                    cpu_s = []
                    for _ in range(rounds):
                        for where, url in urls.items():
                            before_s = cpu_time_s(gateway.process.pid)
                            times_ms[where] += latencies_ms(protocol, url, rows, callers, calls)
                            if where:
                                cpu_s.append((cpu_time_s(gateway.process.pid) - before_s) / calls)
                    medians = [f"{statistics.median(times_ms[where]):.2f}" for where in urls]
                    tails = [f"{np.percentile(times_ms[where], 99):.2f}" for where in urls]
                    lines.append([protocol, str(callers), *medians, *tails, f"{1e3 * statistics.median(cpu_s):.2f}"])
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of each side, by turns (5)")
    parser.add_argument("--calls", type=int, default=400, help="of a round (400)")
    args = parser.parse_args(argv)
    where = ", ".join(f"{key} {value}" for key, value in machine().items())
    header = ["protocol", "callers", "straight p50 ms", "gateway p50 ms", "straight p99 ms", "gateway p99 ms"]
    table = markdown_table([*header, "gateway's core ms a call"], measure(args.rounds, args.calls))
    text = "\n".join(["# What the gateway costs", "", table, "", f"Machine: {where}.", ""])
    RESULT.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
