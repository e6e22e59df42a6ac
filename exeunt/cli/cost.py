"""`exeunt cost`: what an answer costs: machines, functions, with and without exits.

Simulate a load on one machine, autoscaled machines, machines that scale to zero, a function per answer and a function
per member, by the bag's measured profile and the shares of its exits. Prints dollars per 1000 answers and latency. A
simulation: see docs/cost.md for what it leaves out.

Example: exeunt cost model_repository --load diurnal --rate 20 --plot cost.png
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from exeunt.cli.arguments import add_bag, numbers
from exeunt.errors import ConfigError

if TYPE_CHECKING:
    from exeunt.costing.answers import AnswerMix
    from exeunt.costing.comparison import Compared
    from exeunt.costing.load import Load
    from exeunt.costing.prices import Prices


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_bag(parser)
    parser.add_argument("--load", default="constant", help="constant, diurnal, or a CSV file: seconds,rate_per_s")
    parser.add_argument("--rate", type=float, default=10.0, help="mean requests per second (10)")
    parser.add_argument("--hours", type=float, default=24.0, help="of a constant load (24)")
    parser.add_argument("--feedback", default="1,0.1", help="shares of answered inputs that are finished (1,0.1)")
    parser.add_argument("--max-loss", type=float, help="promised loss (default: the bag's)")
    parser.add_argument("--shares", help="of answers by exit, with commas (default: what the export expected)")
    parser.add_argument("--state-dir", type=Path, help="take the shares that a server with this state_dir has counted")
    parser.add_argument("--prices", type=Path, help="TOML file (default: the shipped one; see docs/cost.md)")
    parser.add_argument("--cold-machine-s", type=float, default=30.0, help="until a new replica answers (30)")
    parser.add_argument("--cold-function-s", type=float, default=5.0, help="until a new function answers (5)")
    parser.add_argument("--seed", type=int, default=0, help="of arrivals and exits (0)")
    parser.add_argument("--plot", type=Path, help="also draw dollars against the rate, a PNG")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")


def run(args: argparse.Namespace) -> int:
    """Simulate and print.

    Raises:
        ConfigError: a file or value that is not allowed.
    """
    from exeunt.costing.comparison import compare
    from exeunt.costing.deployments import ColdStart
    from exeunt.costing.prices import SHIPPED, Prices

    prices = Prices.load(args.prices or SHIPPED)
    load = _load(args)
    mix = _mix(args, prices)
    shares = _numbers("--feedback", args.feedback)
    for option in ("cold_machine_s", "cold_function_s"):
        if not 0 <= getattr(args, option) < math.inf:
            raise ConfigError(f"--{option.replace('_', '-')} {getattr(args, option)}; allowed: a number from 0")
    compared = compare(mix, shares, load, prices, ColdStart(args.cold_machine_s, args.cold_function_s), args.seed)
    if args.plot:
        _draw(mix, shares, prices, args.plot)
    if args.json:
        print(json.dumps([way.to_json() for way in compared], indent=1))
    else:
        _show(compared, load, prices)
    return 0


def _load(args: argparse.Namespace) -> Load:
    from exeunt.costing.load import constant, diurnal, from_csv

    if not 0 < args.rate < 1e6:
        raise ConfigError(f"--rate {args.rate:g}; allowed: a number above 0 and below 1000000")
    if not 1 <= args.hours <= 24 * 366:
        raise ConfigError(f"--hours {args.hours:g}; allowed: a number from 1 to {24 * 366}")
    if args.load == "constant":
        return constant(args.rate, args.hours)
    return diurnal(args.rate) if args.load == "diurnal" else from_csv(Path(args.load))


def _mix(args: argparse.Namespace, prices: Prices) -> AnswerMix:
    from exeunt.costing.answers import answer_mix
    from exeunt.costing.shares import counted_shares, expected_shares
    from exeunt.hosting.status import find_status
    from exeunt.serving.bags import bag_of

    bag = bag_of(args.repository, args.bag)
    if args.shares:
        shares = _numbers("--shares", args.shares)
    elif args.state_dir:
        shares = counted_shares(find_status(args.state_dir, bag.manifest.bag))
    else:
        shares = expected_shares(bag.folder, bag.settings.max_loss if args.max_loss is None else args.max_loss)
    return answer_mix(bag.manifest, shares, prices.machine.cores)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    shares = numbers(option, text, float, "numbers with commas between")
    if not all(0 <= number <= 1 for number in shares):
        raise ConfigError(f"{option} {text!r}; allowed: numbers from 0 to 1")
    return shares


def _draw(mix: AnswerMix, shares: tuple[float, ...], prices: Prices, path: Path) -> None:
    from dataclasses import replace

    from exeunt.costing.plot import draw

    ways = {"plain": mix.plain()} | {f"exits, feedback {share:g}": replace(mix, feedback=share) for share in shares}
    draw(ways, prices, path)


def _show(compared: list[Compared], load: Load, prices: Prices) -> None:
    from rich.console import Console

    from exeunt.tables import table_of

    console = Console()
    for way in compared:
        rows = []
        for outcome in way.outcomes:
            overloaded = math.isinf(outcome.p50_ms)
            times = ("" if overloaded else f"{ms:.1f} ms" for ms in (outcome.p50_ms, outcome.p99_ms))
            dollars = "overloaded" if overloaded else f"{outcome.usd_per_1000:.5f}"
            rows.append((outcome.deployment, dollars, *times, str(outcome.replicas or "")))
        console.print(table_of(("deployment", "$ per 1000", "p50", "p99", "machines"), rows, title=way.answers))
    for way in compared:
        console.print(
            f"{way.answers}: {way.work_share:.2f} of the full ensemble's work per answer; one {prices.machine.name} "
            f"carries {way.carried_per_s:.0f}/s and is cheaper than {prices.function.name} above "
            f"{way.break_even_per_s:.1f}/s",
            markup=False,
        )
    console.print(
        f"{load.answers:.0f} answers in {load.seconds / 3600:.0f} h; prices of {prices.machine.date} and "
        f"{prices.function.date}: check them. A simulation, docs/cost.md says of what.",
        markup=False,
    )
