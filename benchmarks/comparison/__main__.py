"""`python -m benchmarks.comparison`: every tuner on drifting and stable streams, beside the best of hindsight."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from exeunt.errors import ConfigError, ExeuntError

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.comparison.run import ComparedStream, ComparisonPlan

DATA = "digits,glyphs"


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.comparison",
        description="Train and export two bags (kept in --work), record their votes on six kinds of streams, replay "
        "those through every tuner, and write docs/comparison.md with tables and figures. Needs the demo extra; about "
        "half an hour on two cores the first time.",
        epilog="Example: python -m benchmarks.comparison --data digits --rows 6000 --seeds 1 --output comparison.md",
    )
    options.add_argument("--data", default=DATA, metavar="NAMES", help=f"bags to compare on (default: {DATA})")
    options.add_argument("--rows", type=int, default=15_000, help="length of each stream (default: 15000)")
    options.add_argument("--seeds", type=int, default=3, help="number of seeds (default: 3)")
    options.add_argument("--max-loss", type=float, default=0.01, metavar="SHARE", help="promised loss (default: 0.01)")
    options.add_argument("--work", type=Path, default=Path("runs/compare"), help="bags and streams (runs/compare)")
    options.add_argument(
        "--output",
        type=Path,
        default=Path("docs/comparison.md"),
        metavar="FILE",
        help="figures go to figures/ beside it (docs/comparison.md)",
    )
    options.add_argument("--processes", type=int, metavar="N", help="how many work at once (default: one per core)")
    options.add_argument("--json", action="store_true", help="print the results as JSON")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; an error becomes one line and its exit code."""
    try:
        run(parser().parse_args(argv))
    except ExeuntError as error:
        print(f"benchmarks.comparison: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def run(args: argparse.Namespace) -> None:
    """Compare, print, write.

    Raises:
        ConfigError: an unknown bag, or a number that is not allowed.
    """
    from rich.console import Console

    from benchmarks.comparison.material import DATA_SETS
    from benchmarks.comparison.report import as_json, write_report
    from benchmarks.comparison.run import ComparisonPlan

    data = tuple(args.data.split(","))
    for name in data:
        if name not in DATA_SETS:
            raise ConfigError(f"--data {args.data!r}; allowed: {', '.join(DATA_SETS)}")
    if args.rows < 1000 or args.seeds < 1 or not 0 < args.max_loss < 1:
        raise ConfigError("allowed: --rows from 1000, --seeds from 1, --max-loss between 0 and 1")
    console = Console(stderr=args.json, width=None if sys.stdout.isatty() else 130)
    plan = ComparisonPlan(data, args.rows, args.seeds, args.max_loss, args.work)
    streams = _compared_streams(plan, args.processes, console)
    write_report(plan, streams, args.output)
    if args.json:
        print(json.dumps(as_json(plan, streams), indent=1))
    else:
        _show(plan, streams, console)
    console.print(f"written: {args.output}")


def _compared_streams(plan: ComparisonPlan, processes: int | None, console: Console) -> list[ComparedStream]:
    """All streams, in the order of bags, seeds and shapes, with a progress bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from benchmarks.comparison.run import compare

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("streams", total=None)
        streams = []
        for run_ in compare(plan, console.print, processes):
            streams.append(run_)
            progress.update(task, advance=1, total=6 * plan.seeds * len(plan.data))
    shapes = {shape: place for place, shape in enumerate(_shape_order())}
    return sorted(streams, key=lambda item: (plan.data.index(item.data), item.seed, shapes[item.scenario]))


def _shape_order() -> list[str]:
    from benchmarks.comparison.scenarios import scenarios

    return [scenario.name for scenario in scenarios(1, 2, 0, 0)]


def _show(plan: ComparisonPlan, streams: list[ComparedStream], console: Console) -> None:
    from benchmarks.comparison.report import targets
    from exeunt.replay.tables import rich_table

    for run_ in streams:
        title = f"{run_.data}: {run_.scenario}, seed {run_.seed}"
        console.print(rich_table(list(run_.results.values()), title))
    for target in targets(streams):
        mark = "[green]met[/green]" if target.met else "[red]not met[/red]"
        console.print(f"{target.what}: {target.measured} (target {target.target}) {mark}")


if __name__ == "__main__":
    sys.exit(main())
