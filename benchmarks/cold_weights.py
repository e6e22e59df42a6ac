"""What of a cold start is weights: seconds to open a bag's members in engine mode, and to run one row through them all.

    python -m benchmarks.cold_weights [--sizes 8,256,1024] [--times 3]

Without Triton, each time in a process of its own, files in memory; the bags are those of benchmarks.cold_start. Writes
benchmarks/results/cold_weights.md and .json. With --state NAME and --bags FOLDER the times are added to those that are
there: so two checkouts, each with this file, take turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cold_start import BAG, bag
from benchmarks.serving.machine import machine
from exeunt.contract import exit_model
from exeunt.tables import markdown_table

RESULTS = Path(__file__).parent / "results"
_OPEN = """
import json, sys, time
from pathlib import Path
import numpy as np
import onnxruntime
from exeunt.engine.engine import Engine
from exeunt.hosting.assembly import read_manifest
folder = Path(sys.argv[1])
manifest = read_manifest(folder, {})
begun_s, cpu_s = time.perf_counter(), time.process_time()
engine = Engine(manifest, folder)
opened_s = time.perf_counter()
row = {input_.name: np.zeros((1, *input_.dims), input_.dtype) for input_ in manifest.inputs}
for steps in engine._segments._steps:
    tensors = dict(row)
    for step in steps:
        tensors |= step.run(tensors, step.outputs)
ran_s = time.perf_counter()
cpu_s = time.process_time() - cpu_s
print(json.dumps({"open_s": opened_s - begun_s, "first_row_s": ran_s - opened_s, "cpu_s": cpu_s}))
"""


def opened(repository: Path) -> dict[str, float]:
    """Open the members in a process of their own and run a row through them."""
    line = [sys.executable, "-c", _OPEN, str(repository / exit_model(BAG) / "1")]
    figures: dict[str, float] = json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
    return figures


def markdown(times: Sequence[dict[str, Any]], about: dict[str, Any]) -> str:
    """Medians, for people."""
    lines = ["# Cold start: the weights alone", ""]
    lines += [
        f"`python -m benchmarks.cold_weights`; {', '.join(f'{key} {value}' for key, value in about.items())}.",
        "",
    ]
    head = ("weights MB", "code", "members opened s", "then one row through all s", "both, cpu s")
    rows = []
    for size_mb, after in sorted({(one["size_mb"], one["state"] == "after") for one in times}):
        state = "after" if after else "before"
        same_kind = [one for one in times if (one["size_mb"], one["state"]) == (size_mb, state)]
        names = ("open_s", "first_row_s", "cpu_s")
        cells = [f"{statistics.median(one[name] for one in same_kind):.2f}" for name in names]
        rows.append([str(size_mb), state, *cells])
    return "\n".join([*lines, markdown_table(head, rows)]) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="8,256,1024", help="MB of weights of a bag")
    parser.add_argument("--times", type=int, default=3, help="of each size (3)")
    parser.add_argument("--bags", type=Path, help="folder that keeps the exported bags for the next call")
    parser.add_argument("--state", choices=("before", "after"), default="", help="of the code; adds to what is kept")
    parser.add_argument("--output", type=Path, default=RESULTS / "cold_weights", help="without its ending")
    args = parser.parse_args(argv)
    json_file, about = args.output.with_suffix(".json"), machine()
    times = json.loads(json_file.read_text())["times"] if args.state and json_file.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        for size_mb in map(int, args.sizes.split(",")):
            repository = bag((args.bags or Path(folder)) / f"{size_mb}-False", size_mb, False)
            for _ in range(args.times):
                times.append({"state": args.state or "after", "size_mb": size_mb, **opened(repository)})
    json_file.write_text(json.dumps({"machine": about, "times": times}, indent=1) + "\n", encoding="utf-8")
    json_file.with_suffix(".md").write_text(markdown(times, about), encoding="utf-8")
    print(markdown(times, about))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
