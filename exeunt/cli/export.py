"""`exeunt export`: from a bag file to a model repository."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "export",
        help="cut a bag's members, train their ramps, and write a model repository",
        description="Read a bag file, cut its members into segments, verify that the segments equal the members, "
        "train ramps against the full vote, measure, and write a Triton model repository: all of it or nothing.",
        epilog="Example: exeunt export BAG.toml -o model_repository",
    )
    parser.add_argument("bag", type=Path, help="bag file: members, weights, labels, samples, exit settings")
    parser.add_argument("-o", "--output", type=Path, default=Path("model_repository"), help="folder to write")
    parser.add_argument("--force", action="store_true", help="replace a repository that exeunt wrote")
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export and report.

    Raises:
        ConfigError: the bag cannot be exported as it is described.
        ServingError: segments do not equal their member.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    from exeunt.export.bag import export_bag

    columns = (TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        report = export_bag(args.bag, args.output, force=args.force, progress=show)
    print(json.dumps({"output": str(report.output), **report.to_mapping()}) if args.json else report.summary())
    return 0
