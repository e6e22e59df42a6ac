"""`exeunt perf`: perf_analyzer against the early-exit model and the plain ensemble, joined with exits and loss."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exeunt.contract import full_model
from exeunt.errors import ConfigError, ServingError

if TYPE_CHECKING:
    import numpy as np

    from exeunt.measuring.perf import PerfPlan


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
    add("--replay", type=Path, help=".npy, or .npz with one array per input; rows in the stream's order")
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
    rows = write_replay(
        _inputs(args.replay, args.url, args.name), replay, most=args.requests
    )  # every run sees the whole mix
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
    from exeunt.measuring.perf import PROTOCOLS, Load, PerfPlan, levels

    if not args.name or not args.replay:
        raise ConfigError("perf NAME --replay FILE: both are needed, random inputs make exits meaningless")
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


def _inputs(path: Path, url: str, model: str) -> dict[str, np.ndarray]:
    """Public input -> rows; a bare .npy is the model's one input, by the name that the server tells."""
    from exeunt.cli.infer import read_inputs

    loaded = read_inputs(path)
    return loaded if isinstance(loaded, dict) else {_only_input(url, model): loaded}


def _only_input(url: str, model: str) -> str:
    from tritonclient import grpc, http
    from tritonclient.utils import InferenceServerException

    from exeunt_client.protocol import Address, translate

    address = Address.parse(url)
    try:
        if address.protocol == "grpc":
            with grpc.InferenceServerClient(address.host, ssl=address.tls) as client:
                names = [entry["name"] for entry in client.get_model_metadata(model, as_json=True)["inputs"]]
        else:
            with http.InferenceServerClient(address.host, ssl=address.tls) as client:
                names = [entry["name"] for entry in client.get_model_metadata(model)["inputs"]]
    except InferenceServerException as error:
        raise translate(error, f"inputs of {model}") from error
    except OSError as error:
        raise ServingError(f"{url}: no server answers: {error}") from error
    if len(names) != 1:
        raise ConfigError(f"{model} takes {', '.join(names)}; allowed: --replay FILE.npz with one array for each")
    return str(names[0])
