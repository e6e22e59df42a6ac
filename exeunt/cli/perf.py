"""`exeunt perf`: load-test a running server with perf_analyzer.

Run Triton's perf_analyzer with replayed inputs against NAME and NAME_full of a running server, in turns at each level
of load, and join what it measures with exits and loss from the controller's metrics. Writes perf.json, perf.md,
perf.png and perf_analyzer's own files.

Example: exeunt perf digits --replay replay.npz --concurrency 1:16:5 --rate 20:80:20
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from exeunt.cli.arguments import named_inputs
from exeunt.contract import full_model
from exeunt.errors import ConfigError

if TYPE_CHECKING:
    from exeunt.measuring.perf import PerfPlan


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add = parser.add_argument
    add("name", nargs="?", help="the bag, which is the public model's name")
    add("--url", default="grpc://127.0.0.1:8001", help="grpc://HOST:PORT or http://HOST:PORT (grpc://127.0.0.1:8001)")
    add("--metrics", default="http://127.0.0.1:8002/metrics", help="metrics endpoint (http://127.0.0.1:8002/metrics)")
    add("--replay", type=Path, help=".npy, or .npz with one array per input; rows in the stream's order")
    add("--concurrency", help="requests always in flight, START:END:STEP")
    add("--rate", help="requests per second with Poisson arrivals, START:END:STEP")
    add("--requests", type=int, default=500, help="requests per run (500)")
    add("--models", help="models to compare, separated by commas (NAME,NAME_full)")
    add("--output", type=Path, default=Path("runs/perf"), help="folder for all files (runs/perf)")
    add("--json", action="store_true", help="print the report as JSON on stdout, progress on stderr")
    add("--fetch", action="store_true", help="only fetch perf_analyzer from PyPI into the cache, and say where it is")


def run(args: argparse.Namespace) -> int:
    """Measure, print, write.

    Raises:
        ConfigError: an option, the replay file or perf_analyzer is not usable.
        ServingError: the server or perf_analyzer failed.
    """
    from exeunt.measuring import perf_binary

    if args.fetch:
        print(perf_binary.fetch())
        return 0
    analyzer = perf_binary.find()
    plan = _plan(args)

    from rich.console import Console

    from exeunt.measuring.perf import run_plan, write_replay
    from exeunt.measuring.perf_report import save, table

    console = Console(stderr=args.json)
    args.output.mkdir(parents=True, exist_ok=True)
    replay = args.output / "replay.json"
    inputs = named_inputs(args.replay, lambda: _only_input(args.url, args.name))
    rows = write_replay(inputs, replay, most=args.requests)  # every run sees the whole mix
    console.print(f"{rows} rows to replay, {len(plan.loads) * len(plan.models)} runs of {plan.requests} requests")
    runs = run_plan(plan, analyzer, replay, args.output, lambda line: console.print(f"  {line}", markup=False))
    report = save(plan, runs, args.output, str(analyzer.binary))
    if args.json:
        print(json.dumps(report))
    else:
        console.print(table(runs))
        console.print(f"written: {args.output / 'perf.json'}, perf.md, perf.png", markup=False)
    return 0


def _plan(args: argparse.Namespace) -> PerfPlan:
    from exeunt.measuring.perf import PROTOCOLS, LoadLevel, PerfPlan, levels

    if not args.name or not args.replay:
        raise ConfigError("perf NAME --replay FILE: both are needed, random inputs make exits meaningless")
    protocol, _, address = args.url.partition("://")
    if protocol not in PROTOCOLS or not address:
        raise ConfigError(f"--url {args.url!r}; allowed: grpc://HOST:PORT or http://HOST:PORT")
    if args.requests < 1:
        raise ConfigError(f"--requests {args.requests}; allowed: a whole number from 1")
    level_texts = {"concurrency": args.concurrency, "rate": args.rate}
    if not any(level_texts.values()):
        level_texts["concurrency"] = "1:4:3"
    loads = [
        LoadLevel(kind, level) for kind, text in level_texts.items() if text for level in levels(text, f"--{kind}")
    ]
    models = tuple(args.models.split(",")) if args.models else (args.name, full_model(args.name))
    return PerfPlan(args.name, models, tuple(loads), args.requests, protocol, address, args.metrics)


def _only_input(url: str, model: str) -> str:
    """Name of a model's one input, as the server tells."""
    from exeunt_client.blocking import Client

    with Client(url, model) as client:
        names = [tensor.name for tensor in client.signature.inputs]
    if len(names) != 1:
        raise ConfigError(f"{model} takes {', '.join(names)}; allowed: --replay FILE.npz with one array for each")
    return names[0]
