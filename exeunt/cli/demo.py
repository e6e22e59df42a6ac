"""`exeunt demo`: serve and measure a bag of published models.

Fetch four releases of a published model that tells what a file is (Magika, 60 MB from the package index, kept in the
cache), export them as a bag, start the real Triton server on 127.0.0.1, ask it about public files of this machine, and
compare it with the plain ensemble and with the best member alone. Nothing is trained. Prints tables; writes report.json
and picture.png.

Example: exeunt demo --stream-s 30
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exeunt.cli.stop_signals import stop_on_signals
from exeunt.errors import ConfigError, check_known
from exeunt.manifest_check import MODES

if TYPE_CHECKING:
    from rich.console import Console

BAGS = ("filetypes", "digits")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("--output", type=Path, default=Path("runs/demo"), help="folder for all files (runs/demo)")
    parser.add_argument(
        "--cache", type=Path, default=Path(".cache/exeunt/demo"), help="folder of what is fetched (.cache/exeunt/demo)"
    )
    parser.add_argument(
        "--bag",
        choices=BAGS,
        help="filetypes, or digits: three tiny CNNs, trained here, on which exits do not pay "
        "(filetypes; digits where the package index cannot be reached)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of files, order and arrivals (0)")
    parser.add_argument("--stream-s", type=float, default=10.0, help="seconds of stream per contender and load (10)")
    parser.add_argument("--rate", type=float, help="digits: arrivals per second (default: from --load)")
    parser.add_argument("--load", type=float, default=0.4, help="digits: share of the slowest model's capacity (0.4)")
    parser.add_argument(
        "--modes", help="how members run; the first names the bag (engine,ensemble; with a GPU ensemble,engine)"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON on stdout, progress on stderr")


def run(args: argparse.Namespace) -> int:
    """Run the demo.

    Raises:
        ConfigError: an option outside what is allowed, or see `run_file_demo` and `run_demo`.
    """
    for option, value in (("--stream-s", args.stream_s), ("--rate", args.rate), ("--load", args.load)):
        if value is not None and not value > 0:
            raise ConfigError(f"{option} {value}; allowed: a number above 0")
    from rich.console import Console

    from exeunt.demo.prepare import modes_here

    stop_on_signals()
    modes = _modes(args.modes) if args.modes else modes_here()
    console = Console(stderr=args.json)
    report = (None if args.bag == "digits" else _file_types(args, modes, console)) or _digits(args, modes, console)
    if args.json:
        print(json.dumps(report))
    return 0


def _file_types(args: argparse.Namespace, modes: tuple[str, ...], console: Console) -> dict[str, Any] | None:
    """The report; None where the models cannot be had and nobody insisted on them."""
    from exeunt.demo.filetypes.report import to_mapping
    from exeunt.demo.filetypes.run import FileDemoPlan, run_file_demo
    from exeunt.demo.filetypes.wheels import fetch

    console.print("fetch four models (Magika, 60 MB, once)")
    try:
        models = fetch(args.cache)
    except ConfigError as error:
        if args.bag is not None:
            raise
        console.print(f"The published models cannot be had here: {error}", markup=False)
        console.print("So this is the digits bag instead: three tiny CNNs, trained here, on which exits do not pay.")
        return None
    return to_mapping(run_file_demo(FileDemoPlan(args.output, modes[0], args.seed, args.stream_s), models, console))


def _digits(args: argparse.Namespace, modes: tuple[str, ...], console: Console) -> dict[str, Any]:
    from exeunt.demo.run import DemoPlan, run_demo

    plan = DemoPlan(args.output, modes, args.seed, args.stream_s, args.rate, args.load)
    return run_demo(plan, console).to_mapping()


def _modes(names: str) -> tuple[str, ...]:
    modes = tuple(dict.fromkeys(names.split(",")))
    for mode in modes:
        check_known("mode", mode, MODES, "--modes")
    return modes
