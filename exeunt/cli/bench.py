"""`exeunt bench`: measure members in series, the plain ensemble, and the early-exit model.

Start the server over a repository (or use a running one), send real inputs to each member, to all in series, to the
plain ensemble and to the early-exit model, in turns; print latency, loss, accuracy.

Example: exeunt bench model_repository --input images.npy --truth labels.npy --batch 1,8,64
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exeunt.cli.arguments import add_bag, named_inputs, numbers, read_inputs
from exeunt.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from exeunt.measuring.bench import BenchLine


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_bag(parser)
    parser.add_argument("--input", type=Path, required=True, help=".npy or .npz of real inputs; exits depend on them")
    parser.add_argument("--truth", type=Path, help=".npy of true labels, one per row")
    parser.add_argument("--url", help="a running server's grpc:// or http:// address (default: start one)")
    parser.add_argument("--batch", default="1,8,64", help="batch sizes (1,8,64)")
    parser.add_argument("--rounds", type=int, default=150, help="turns per batch size (150)")
    parser.add_argument("--output", type=Path, help="also write the numbers as JSON to this file")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON on stdout, progress on stderr")


def run(args: argparse.Namespace) -> int:
    """Measure and print.

    Raises:
        ConfigError: a file or option is not usable, or see `exeunt.measuring.bench.bench`.
        ServingError: the server does not start or answer.
    """
    from rich.console import Console

    from exeunt.measuring.bench import bench
    from exeunt.measuring.progress import bars
    from exeunt.serving.bags import bag_of

    manifest = bag_of(args.repository, args.bag).manifest
    if manifest.preprocess is not None:
        raise ConfigError(
            f"{args.repository}: bag {manifest.bag} has preprocessing that its members share; the members alone, which "
            "bench compares with, take other inputs than the bag. Compare with NAME_full by exeunt_client instead"
        )
    sizes = numbers("--batch", args.batch, int, "whole numbers with commas between, 1,8,64")
    if args.rounds < 1:
        raise ConfigError(f"--rounds {args.rounds}; allowed: a whole number from 1")
    named = named_inputs(args.input, lambda: manifest.inputs[0].name)
    truth = None if args.truth is None else np.asarray(read_inputs(args.truth))
    console = Console(stderr=args.json)
    with _server(args, console) as url, bars(console) as progress:
        tasks = {size: progress.add_task(f"batch {size}", total=args.rounds) for size in sizes}
        lines = bench(url, manifest, named, sizes, args.rounds, truth, lambda size: progress.advance(tasks[size]))
    report = [{"batch_rows": line.batch_rows, **line.summary.to_mapping()} for line in lines]
    if args.output is not None:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if args.json:
        print(json.dumps(report))
    else:
        _print_tables(lines, console)
    return 0


@contextmanager
def _server(args: argparse.Namespace, console: Console) -> Iterator[str]:
    if args.url is not None:
        yield args.url
        return
    from exeunt.serving.pip_server import serve

    console.print(f"start Triton over {args.repository}", markup=False)
    with serve(args.repository) as server:
        yield f"grpc://{server.grpc_url}"


def _print_tables(lines: list[BenchLine], console: Console) -> None:
    from exeunt.measuring.tables import exits_table, latency_table

    for size in dict.fromkeys(line.batch_rows for line in lines):
        summaries = [line.summary for line in lines if line.batch_rows == size]
        console.print(
            f"[bold]batch {size}[/]: one caller, in turns; loss against the plain ensemble", latency_table(summaries)
        )
        console.print("answers by exit and reason", exits_table({summary.model: summary for summary in summaries}))
