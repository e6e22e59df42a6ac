"""The serving benchmark: one command from a clean clone.

    python -m benchmarks.serving                          # every bag; at most 40 minutes each once it is exported
    python -m benchmarks.serving --bag magika --quick     # one bag, few requests: that it works, not what it measures

Contenders share one server and one Poisson stream and take turns of a few seconds: the plain Triton ensemble, the best
member alone, exeunt in ensemble mode, exeunt in engine mode with each schedule. A stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
from pathlib import Path

from benchmarks.serving import pictures, report
from benchmarks.serving.bench_bag import SCHEDULES, BenchBag
from benchmarks.serving.measure import FULL, QUICK, Size, run_bag
from exeunt.errors import ConfigError

BAGS = ("magika", "imagenet", "speech", "glyphs")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "exeunt" / "bench"


def main() -> None:
    """Parse the command line, measure, write the reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bag", action="append", choices=BAGS, help="only this one; may be given again")
    parser.add_argument("--quick", action="store_true", help="few requests: that it works, not what it measures")
    parser.add_argument("--seconds", type=float, help="of stream per contender and load")
    parser.add_argument("--loads", help="shares of the plain ensemble's capacity, separated by commas")
    parser.add_argument("--schedules", default=",".join(SCHEDULES), help="of the engine, separated by commas")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench"), help="bag files, repositories, stages, logs")
    parser.add_argument("--cache", type=Path, default=CACHE, help="of what is fetched and trained")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/serving"), help="reports")
    args = parser.parse_args()
    size = QUICK if args.quick else FULL
    if args.seconds:
        size = dataclasses.replace(size, seconds=args.seconds)
    if args.loads:
        size = dataclasses.replace(size, loads=tuple(float(share) for share in args.loads.split(",")))
    schedules = tuple(args.schedules.split(","))
    for name in args.bag or BAGS:
        bag: BenchBag = importlib.import_module(f"benchmarks.serving.{name}").BAG
        try:
            run(bag, size, schedules, args.folder / name, args.cache, args.output / name, args.quick)
        except ConfigError as error:  # no registry, no Debian: the other bags can be measured
            print(f"{name}: SKIPPED: {error}", flush=True)


def run(
    bag: BenchBag, size: Size, schedules: tuple[str, ...], folder: Path, cache: Path, output: Path, quick: bool
) -> None:
    """Measure one bag and write `serving.json`, `serving.md` and pictures to `output`."""

    def say(line: str) -> None:
        print(line, flush=True)

    figures = run_bag(bag, size, schedules, folder, cache, say)
    if quick:
        figures["about"] = f"Quick run, too few requests for a p99. {figures['about']}"
    output.mkdir(parents=True, exist_ok=True)
    (output / "serving.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (output / "serving.md").write_text(report.markdown(figures), encoding="utf-8")
    pictures.draw(figures, list(bag.contenders(schedules)), output)
    say(f"wrote serving.md, serving.json and pictures to {output}")


if __name__ == "__main__":
    main()
