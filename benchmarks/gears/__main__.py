"""One bag under rising load with one list of exits or the other, and with both: in simulated time.

    python -m benchmarks.gears

Controller, tuner and scheduler are the server's; segments only take the time of the profile, and longer beside each
other. The bag is made: times and votes are such that rows leave about as those of the benchmark's glyphs did. `auto`
has the exits with the least latency at rest, `cascade` those of whole members one after another, `gears` both: a ticket
takes either list by the load. `before` is `auto` without exits for certain labels while the budget is spent. A
controller goes from load to load, after a warm-up at 30 %. Every line is kept as soon as it is known; a stopped run
goes on where it was. Writes benchmarks/results/gears.md and .json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gears.made_bags import GLYPHS, ScheduleEvaluator, difficulties, exits_by, inputs_of, manifest_of
from benchmarks.gears.simulated import Level, Run, levels

RESULTS = Path(__file__).parents[1] / "results"
LOADS = (0.3, 0.8, 1.05, 1.3, 2.0)
MACHINES = {2: (1.0, 1.31), 4: (1.0, 1.05, 1.1, 1.15)}  # workers -> slowdown: two threads of one core; four cores
KINDS = ("before", "auto", "cascade", "gears")
LISTS = {"before": ("auto",), "gears": ("auto", "cascade")}
SEEDS = (1, 2)
CALIBRATION_ROWS = 1500


def measured(
    workers: int, kind: str, seed: int, rows: int, loads: Sequence[float] = LOADS, feedback: float | str = "all"
) -> list[Level]:
    """One contender, load after load."""
    calibration_votes = GLYPHS.votes(difficulties(CALIBRATION_ROWS, 1), 1)
    inputs = inputs_of(GLYPHS.segments_us, calibration_votes, workers, MACHINES[workers])
    evaluator = ScheduleEvaluator(inputs)
    lists = [exits_by(name, inputs, evaluator) for name in LISTS.get(kind, (kind,))]
    manifest, calibration = manifest_of(GLYPHS.name, inputs, evaluator, *lists)
    manifest = dataclasses.replace(manifest, settings=dataclasses.replace(manifest.settings, feedback=feedback))
    stream = GLYPHS.votes(difficulties(rows, 10 + seed), 10 + seed)
    run = Run(manifest, calibration, stream, seed)
    if kind == "before":
        run.controller.decisions.sure[:] = False
    return levels(run, loads, rows, rows)


def markdown(runs: Sequence[dict[str, Any]], rows: int) -> str:
    """The table: means over the seeds."""
    lines = [
        "# One list of exits, the other, and both: simulated",
        "",
        f"`python -m benchmarks.gears`; {rows} requests of one row per load, means over the seeds (the mean of each in "
        "brackets). Load: arrivals, in times of what the workers do when every row runs whole. Work: per answer, in "
        "times of the full ensemble's, feedback included.",
        "",
        "| workers | load | exits | mean ms | p50 ms | p99 ms | work | early | full | loss |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for workers in MACHINES:
        for place, load in enumerate(LOADS):
            for kind in KINDS:
                levels = [one["levels"][place] for one in runs if (one["workers"], one["kind"]) == (workers, kind)]
                if levels:
                    mean = {key: float(np.mean([level[key] for level in levels])) for key in levels[0]}
                    spread = " / ".join(f"{level['mean_ms']:.0f}" for level in levels)
                    lines.append(
                        f"| {workers} | {load:.0%} | {kind} | {mean['mean_ms']:.1f} ({spread}) | {mean['p50_ms']:.1f} "
                        f"| {mean['p99_ms']:.0f} | {mean['work']:.2f} | {mean['early']:.0%} | {mean['full']:.0%} "
                        f"| {mean['loss']:.2%} |"
                    )
    return "\n".join([*lines, ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate what is not kept yet, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1500, help="per load (1500)")
    parser.add_argument("--at-most", type=int, default=len(MACHINES) * len(KINDS) * len(SEEDS), help="lines to add")
    args = parser.parse_args(argv)
    file = RESULTS / "gears.json"
    runs = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    finished_keys = {(one["seed"], one["workers"], one["kind"]) for one in runs}
    run_keys = [(seed, workers, kind) for kind in KINDS for seed in SEEDS for workers in MACHINES]
    for seed, workers, kind in [key for key in run_keys if key not in finished_keys][: args.at_most]:
        levels = [asdict(level) for level in measured(workers, kind, seed, args.rows)]
        runs.append({"seed": seed, "workers": workers, "kind": kind, "levels": levels})
        file.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
        print(seed, workers, kind, [round(level["mean_ms"], 1) for level in levels], flush=True)
    page = markdown(runs, args.rows)
    (RESULTS / "gears.md").write_text(page, encoding="utf-8")
    print(page)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
