"""How much feedback is worth its work: one bag under rising load, with shares of feedback, in simulated time.

    python -m benchmarks.gears.feedback [--rows 3000]

The bag, machines and loads are those of `benchmarks.gears`; every line is the mean over the seeds, after a warm-up.
Prints, and writes benchmarks/results/gears_feedback.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.gears.__main__ import MACHINES, measured
from exeunt.tables import markdown_table

RESULTS = Path(__file__).parents[1] / "results"
LOADS = (0.3, 0.3, 0.8, 1.05)  # the first earns the error budget
SHARES: tuple[float | str, ...] = ("all", "auto", 0.5, 0.25, 0.1)
SEEDS = (1, 2, 3)
HEADER = ["exits", "workers", "load", "feedback", "mean ms", "p50 ms", "p99 ms", "work", "loss"]


def lines(kind: str, workers: int, feedback: float | str, rows: int) -> list[list[str]]:
    """Of the table, one for each load."""
    runs = [measured(workers, kind, seed, rows, LOADS, feedback) for seed in SEEDS]
    table = []
    for place in range(1, len(LOADS)):
        mean = {
            key: float(np.mean([getattr(run[place], key) for run in runs]))
            for key in ("mean_ms", "p50_ms", "p99_ms", "work", "loss")
        }
        table.append([kind, str(workers), f"{LOADS[place]:.0%}", str(feedback), f"{mean['mean_ms']:.1f}"])
        table[-1] += [f"{mean['p50_ms']:.1f}", f"{mean['p99_ms']:.0f}", f"{mean['work']:.2f}", f"{mean['loss']:.2%}"]
    return table


def markdown(table: Sequence[Sequence[str]], rows: int) -> str:
    """The page."""
    seeds = ", ".join(map(str, SEEDS))
    text = ["# How much feedback is worth its work: simulated", ""]
    text += [f"`python -m benchmarks.gears.feedback`; {rows} requests of one row per load, means of seeds {seeds}."]
    text += ["Work: per answer, in times of the full ensemble's.", "", markdown_table(HEADER, table), ""]
    return "\n".join(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, print, keep every line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3000, help="per load (3000)")
    parser.add_argument("--exits", choices=("auto", "cascade"), nargs="+", default=["auto", "cascade"])
    args = parser.parse_args(argv)
    table: list[list[str]] = []
    for kind in args.exits:
        for workers in MACHINES:
            for feedback in SHARES:
                table += lines(kind, workers, feedback, args.rows)
                print(*table[-1], flush=True)
                (RESULTS / "gears_feedback.md").write_text(markdown(table, args.rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
