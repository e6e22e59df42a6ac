"""`exeunt advise`: whether exits pay for a bag on this host, before anything is served.

Say whether to use exits, what latency to expect beside the plain ensemble, and what would help. Runs the members for
some seconds on this host, then simulates the server with the shares that the export expected to leave; docs/cost.md
says what that leaves out.

Example: exeunt advise model_repository --rate 20
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from exeunt.cli.arguments import add_bag, named_inputs
from exeunt.errors import ConfigError

if TYPE_CHECKING:
    from exeunt.costing.advice import Advice


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_bag(parser)
    parser.add_argument("--rate", type=float, help="requests per second that are expected (default: 30 %% of capacity)")
    parser.add_argument("--max-loss", type=float, help="promised loss (default: the bag's)")
    parser.add_argument("--input", type=Path, help=".npy or .npz of real rows to measure with (default: zeros)")
    parser.add_argument("--seconds", type=float, default=5.0, help="to measure; 0: take the export's times (5)")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")


def run(args: argparse.Namespace) -> int:
    """Think and print.

    Raises:
        ConfigError: a repository or value that is not allowed.
    """
    from exeunt.costing.advice import advise_bag
    from exeunt.serving.bags import bag_of

    bag = bag_of(args.repository, args.bag)
    if args.rate is not None and not 0 < args.rate < 1e6:
        raise ConfigError(f"--rate {args.rate:g}; allowed: a number above 0 and below 1000000")
    if not 0 <= args.seconds <= 3600:
        raise ConfigError(f"--seconds {args.seconds:g}; allowed: a number from 0 to 3600")
    inputs = named_inputs(args.input, lambda: bag.manifest.inputs[0].name) if args.input else None
    advice = advise_bag(bag, args.rate, args.max_loss, inputs, args.seconds)
    if args.json:
        table = dataclasses.asdict(advice)
        for forecast in table["forecasts"]:
            forecast |= {key: None for key in ("plain_p50_ms", "plain_p99_ms") if math.isinf(forecast[key])}
        print(json.dumps(table, indent=1))
    else:
        _show(advice, bag.manifest.bag)
    return 0


def _show(advice: Advice, bag: str) -> None:
    from rich.console import Console

    from exeunt.tables import table_of

    console = Console()
    first = advice.forecasts[0]
    if advice.pays:
        verdict = f"use exits: a mean answer comes {first.saving:.0%} sooner than the plain ensemble's"
    elif first.saving < 0:
        verdict = f"do not use exits here: a mean answer would come {-first.saving:.0%} later"
    else:
        verdict = f"do not use exits here: they would save {first.saving:.0%} of the mean latency, and cost attention"
    console.print(f"{bag} at {first.rate_per_s:.1f} requests per second: {verdict}.", markup=False, soft_wrap=True)
    rows = []
    for forecast in advice.forecasts:
        cells = [_cell(forecast.p50_ms, forecast.p50_range_ms), _cell(forecast.p99_ms, forecast.p99_range_ms)]
        cells += [_cell(forecast.plain_p50_ms), _cell(forecast.plain_p99_ms)]
        rows.append((f"{forecast.rate_per_s:.1f}", *cells, f"{forecast.saving:.0%}"))
    console.print(table_of(("requests/s", "p50", "p99", "plain p50", "plain p99", "mean saved"), rows))
    console.print(
        f"answers at most {advice.most_per_s:.0f}/s, the plain ensemble {advice.plain_most_per_s:.0f}/s; finishes "
        f"every answered input up to {advice.carried_per_s:.0f}/s; with a tenth of the feedback an answer takes "
        f"{advice.work_per_answer:.2f} of the full ensemble's work",
        markup=False,
        soft_wrap=True,
    )
    for hint in advice.hints:
        console.print(f"- {hint}", markup=False, soft_wrap=True)


def _cell(ms: float, ends: tuple[float, float] | None = None) -> str:
    if math.isinf(ms):
        return "overloaded"
    return f"{ms:.1f} ms" + (f" ({ends[0]:.0f} to {ends[1]:.0f})" if ends else "")
