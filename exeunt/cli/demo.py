"""`exeunt demo`: train a small bag, serve it, compare it with the plain ensemble."""

from __future__ import annotations

import argparse
import json
import signal
from pathlib import Path
from types import FrameType
from typing import Any

from exeunt.errors import ConfigError, unknown
from exeunt.manifest_check import MODES


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="train, export, serve and measure a small bag",
        description="Train three small CNNs as a bagged ensemble on scikit-learn's digits, export them, start the real "
        "Triton server on 127.0.0.1, and send noisy test images as a Poisson stream to the early-exit model and to the "
        "plain ensemble in turns. Prints tables; writes report.json and picture.png.",
        epilog="Example: exeunt demo --stream-s 60",
    )
    parser.add_argument("--output", type=Path, default=Path("runs/demo"), help="folder for all files (runs/demo)")
    parser.add_argument(
        "--cache", type=Path, default=Path(".cache/exeunt/demo"), help="folder of trained weights (.cache/exeunt/demo)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of data, training and arrivals (0)")
    parser.add_argument("--stream-s", type=float, default=20.0, help="seconds of stream for each model (20)")
    parser.add_argument("--rate", type=float, help="arrivals per second (default: from --load)")
    parser.add_argument("--load", type=float, default=0.4, help="share of the slowest model's capacity (0.4)")
    parser.add_argument(
        "--modes", help="how members run; the first names the bag (engine,ensemble; with a GPU ensemble,engine)"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON on stdout, progress on stderr")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo.

    Raises:
        ConfigError: an option outside what is allowed, or see `exeunt.demo.run.run_demo`.
    """
    for option, value in (("--stream-s", args.stream_s), ("--rate", args.rate), ("--load", args.load)):
        if value is not None and not value > 0:
            raise ConfigError(f"{option} {value}; allowed: a number above 0")
    from rich.console import Console

    from exeunt.demo.prepare import modes_here
    from exeunt.demo.run import DemoPlan, run_demo

    for stop in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, _interrupt)  # the server goes with us
    modes = _modes(args.modes) if args.modes else modes_here()
    plan = DemoPlan(args.output, args.cache, modes, args.seed, args.stream_s, args.rate, args.load)
    measured = run_demo(plan, Console(stderr=args.json))
    if args.json:
        print(json.dumps(measured.to_mapping()))
    return 0


def _modes(told: str) -> tuple[str, ...]:
    modes = tuple(dict.fromkeys(told.split(",")))
    for mode in modes:
        if mode not in MODES:
            raise unknown("mode", mode, MODES, "--modes")
    return modes


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
