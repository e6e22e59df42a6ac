"""`exeunt perf`: perf_analyzer against the early-exit model and the plain ensemble, joined with exits and loss."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exeunt.contract import full_model
from exeunt.errors import ConfigError

if TYPE_CHECKING:
    from exeunt.client.perf import PerfPlan


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "perf",
        help="load-test a running server with perf_analyzer",
        description="Run Triton's perf_analyzer with replayed inputs against NAME and NAME_full of a running server, "
        "in turns at each level of load, and join what it measures with exits and loss from the controller's metrics. "
        "Writes perf.json, perf.md, perf.png and perf_analyzer's own files.",
        epilog="Example: exeunt perf digits --replay replay.npz --concurrency 1:16:5 --rate 20:80:20",
    )
    add = parser.add_argument
    add("name", nargs="?", help="the bag, which is the public model's name")
    add("--url", default="grpc://127.0.0.1:8001", help="grpc://HOST:PORT or http://HOST:PORT (grpc://127.0.0.1:8001)")
    add("--metrics", default="http://127.0.0.1:8002/metrics", help="metrics endpoint (http://127.0.0.1:8002/metrics)")
    add("--replay", type=Path, help=".npz with one array [rows, ...] per public input, in the stream's order")
    add("--concurrency", help="requests always in flight, START:END:STEP")
    add("--rate", help="requests per second with Poisson arrivals, START:END:STEP")
    add("--requests", type=int, default=500, help="requests per run (500)")
    add("--models", help="models to compare, separated by commas (NAME,NAME_full)")
    add("--output", type=Path, default=Path("runs/perf"), help="folder for all files (runs/perf)")
    add("--json", action="store_true", help="print the report as JSON on stdout, progress on stderr")
    add("--fetch", action="store_true", help="only fetch perf_analyzer from PyPI into the cache, and say where it is")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print, write.

    Raises:
        ConfigError: an option, the replay file or perf_analyzer is not usable.
        ServingError: the server or perf_analyzer failed.
    """
    from exeunt.client import perf_binary

    if args.fetch:
        print(perf_binary.fetch())
        return 0
    analyzer = perf_binary.find()
    plan = _plan(args)

    from rich.console import Console

    from exeunt.client.perf import run_plan, write_replay
    from exeunt.client.perf_report import save, table

    console = Console(stderr=args.json)
    args.output.mkdir(parents=True, exist_ok=True)
    replay = args.output / "replay.json"
    rows = write_replay(_inputs(args.replay), replay, most=args.requests)  # every run sees the whole mix
    console.print(f"{rows} rows to replay, {len(plan.loads) * len(plan.models)} runs of {plan.requests} requests")
    runs = run_plan(plan, analyzer, replay, args.output, lambda told: console.print(f"  {told}"))
    told = save(plan, runs, args.output, str(analyzer.binary))
    if args.json:
        print(json.dumps(told))
    else:
        console.print(table(runs))
        console.print(f"written: {args.output / 'perf.json'}, perf.md, perf.png")
    return 0


def _plan(args: argparse.Namespace) -> PerfPlan:
    from exeunt.client.perf import PROTOCOLS, Load, PerfPlan, levels

    if not args.name or not args.replay:
        raise ConfigError("exeunt perf NAME --replay FILE.npz: both are needed, random inputs make exits meaningless")
    protocol, _, address = args.url.partition("://")
    if protocol not in PROTOCOLS or not address:
        raise ConfigError(f"--url {args.url!r}; allowed: grpc://HOST:PORT or http://HOST:PORT")
    if args.requests < 1:
        raise ConfigError(f"--requests {args.requests}; allowed: a whole number from 1")
    asked = {"concurrency": args.concurrency, "rate": args.rate}
    if not any(asked.values()):
        asked["concurrency"] = "1:4:3"
    loads = [Load(kind, level) for kind, text in asked.items() if text for level in levels(text, f"--{kind}")]
    models = tuple(args.models.split(",")) if args.models else (args.name, full_model(args.name))
    return PerfPlan(args.name, models, tuple(loads), args.requests, protocol, address, args.metrics)


def _inputs(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise ConfigError(
                    f"{path}: one bare array; allowed: .npz that names the inputs, np.savez(FILE, NAME=rows)"
                )
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise ConfigError(f"--replay {path}: no such file") from None
    except (ValueError, OSError, AttributeError) as error:
        raise ConfigError(f"--replay {path}: not a .npz file of arrays: {error}") from None
