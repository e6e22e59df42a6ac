"""A bag that takes less than a millisecond, beside its plain ensemble: closed loop with few and with many callers.

    python -m benchmarks.small_bag [--repository DIR] [--turns 6] [--keep]

The digits bag in engine mode, over gRPC, one row a request, contenders in turns on one server. First both are asked
until the gear (docs/engine.md) is chosen. `--keep` writes benchmarks/results/small_bag.json and .md.
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
from rich.console import Console

from benchmarks.cpu_time import cpu_time_s
from benchmarks.serving.machine import machine
from exeunt.contract import full_model
from exeunt.demo import data
from exeunt.demo.bag import BAG
from exeunt.demo.prepare import prepare
from exeunt.measuring.closed_loop import run_closed_loop
from exeunt.measuring.perf_metrics import parse, scrape
from exeunt.serving.bags import bag_of
from exeunt.serving.pip_server import Server, serve
from exeunt.serving.processes import members
from exeunt.tables import markdown_table

RESULTS = Path(__file__).parent / "results"
CALLERS = (1, 4, 16)
TURN_S = 2.0
SETTLE_S = 15.0  # until the gear is chosen: 16 blocks of 48 tickets and more
WARM_CALLERS = 4


def measured(repository: Path, turns: int) -> list[dict[str, Any]]:
    """A line for every number of callers."""
    bag = bag_of(repository, BAG).manifest.bag
    models = [bag, full_model(bag)]
    stream = data.drifting_stream(data.digits(0).test, 2000, seed=1)
    lines = []
    with serve(repository) as server:
        url = f"grpc://{server.grpc_url}"
        run_closed_loop(url, models, stream.images, WARM_CALLERS, SETTLE_S, 1)
        for callers in CALLERS:
            runs = {model: [] for model in models}
            cpu_s = dict.fromkeys(models, 0.0)
            for turn in range(turns):
                for model in models if turn % 2 else models[::-1]:
                    before_s = _server_cpu_s(server.pid)
                    runs[model] += run_closed_loop(url, [model], stream.images, callers, TURN_S, 1)
                    time.sleep(0.3)  # feedback
                    cpu_s[model] += _server_cpu_s(server.pid) - before_s
            ours, plain = (runs[model] for model in models)
            figures = {}
            for name, model in zip(("exeunt", "plain"), models, strict=True):
                loops = runs[model]
                answers = sum(run.answers for run in loops)
                figures[name] = {
                    "rows_per_s": answers / sum(run.seconds for run in loops),
                    "p50_ms": float(np.median(np.concatenate([run.latencies_ms for run in loops]))),
                    "server_cpu_ms": 1e3 * cpu_s[model] / answers,
                    "failed": sum(run.failed for run in loops),
                }
            by_turn = [a.rows_per_s / b.rows_per_s for a, b in zip(ours, plain, strict=True)]
            lines.append({"callers": callers, **figures, "ratio_by_turn": by_turn, "gear": _gear(server)})
            print(json.dumps(lines[-1]), flush=True)
    return lines


def _server_cpu_s(pid: int) -> float:
    return sum(cpu_time_s(process) for process in members(pid))


def _gear(server: Server) -> dict[str, float]:
    """What the server says of gears and tickets since its start."""
    names = ("exeunt_gear", "exeunt_tickets_total", "exeunt_plain_tickets_total")
    samples = parse(scrape(server.metrics_url)).items()
    return {dict(labels).get("name", family): value for (family, labels), value in samples if family in names}


def markdown(document: dict[str, Any]) -> str:
    """The table, with the machine."""
    header = ["callers", "plain rows/s", "exeunt rows/s", "ratio", "of single turns", "plain p50 ms", "exeunt p50 ms"]
    header += ["plain CPU ms a row", "exeunt CPU ms a row"]
    lines = []
    for line in document["lines"]:
        ours, plain = line["exeunt"], line["plain"]
        turns = sorted(line["ratio_by_turn"])
        lines.append([str(line["callers"]), f"{plain['rows_per_s']:.0f}", f"{ours['rows_per_s']:.0f}"])
        lines[-1] += [f"{ours['rows_per_s'] / plain['rows_per_s']:.2f}", f"{turns[0]:.2f} to {turns[-1]:.2f}"]
        lines[-1] += [f"{one['p50_ms']:.1f}" for one in (plain, ours)]
        lines[-1] += [f"{one['server_cpu_ms']:.2f}" for one in (plain, ours)]
    where = ", ".join(f"{key} {value}" for key, value in document["machine"].items())
    text = ["# A bag that takes less than a millisecond", ""]
    text += ["The digits bag in engine mode; closed loop, one row a request.", ""]
    return "\n".join([*text, markdown_table(header, lines), "", f"Machine: {where}.", ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, help="of an earlier run; without it, one is made")
    parser.add_argument("--turns", type=int, default=6, help="of each contender at each number of callers (6)")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/small_bag.*")
    args = parser.parse_args(argv)
    about = machine()
    with tempfile.TemporaryDirectory() as folder:
        repository = args.repository or prepare(Path(folder), 0, Console(), ("engine",)).repository
        document = {"machine": about, "lines": measured(repository, args.turns)}
    print(markdown(document))
    if args.keep:
        (RESULTS / "small_bag.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        (RESULTS / "small_bag.md").write_text(markdown(document), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
