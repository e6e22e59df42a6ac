"""How long an export takes and how much memory it needs, by members, classes and exits; each case a process of its own.

    python -m benchmarks.export_scale

writes benchmarks/results/export_scale.md and .json; a case that is in the latter is not measured again (`--afresh`
does). Members are untrained (`export_nets`): small ones of about 1 ms, where what
is measured is the export, and MobileNetV2s of 14 MB on samples of 224 x 224.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import onnx_ir as ir

from benchmarks import export_nets
from exeunt.tables import markdown_table
from exeunt_export.mapped import release_pages

RESULTS = Path(__file__).parent / "results"
# kind, members, classes, exits, samples
CASES = (
    ("small", 1, 10, 3, 500),
    ("small", 24, 10, 3, 500),
    ("small", 24, 1000, 3, 500),
    ("small", 24, 10, 12, 500),
    ("mobile", 1, 1000, 3, 105),
    ("mobile", 3, 1000, 3, 105),
    ("mobile", 1, 1000, 3, 1200),
    ("mobile", 8, 1000, 3, 105),
    ("mobile", 3, 1000, 3, 2500),
)
MOST_BATCH = {"small": 8, "mobile": 64}
WIDEST_FLOATS = {"small": export_nets.WIDTH * export_nets.SIDE**2, "mobile": 96 * 112 * 112}
_WATCHED_S = 0.05
_HEAD = """\
# Export: time and memory
`python -m benchmarks.export_scale` on {cores} cores ({machine}), not quiet (other work may double a time). *small*
members take about 1 ms, *mobile* are MobileNetV2s of 14 MB on 224 x 224; all untrained.

*Least*: what the members alone need: every sample once, and one run of every profiled batch size, at the time that one
row takes on one thread. *Peak*: of the process, with all its pages, those of mapped files too; *own*: without these;
both with what the process holds before the export (*before*). *Allowed*: 1 GiB, three times the largest member, and
two largest batches of its widest tensor. Seconds and MiB.
"""
_COLUMNS = (
    *("kind", "members", "classes", "exits", "samples", "cuts", "time", "least", "ramps", "profile", "before", "peak"),
    *("own", "allowed", "written"),
)


def measure(kind: str, members: int, classes: int, exits: int, rows: int) -> dict[str, float]:
    """Export one bag in this process."""
    from exeunt_export.export_bag import export_bag

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        batch = MOST_BATCH[kind]
        _save_samples(folder / "samples.npy", kind, rows)
        lines = ['name = "bag"', 'samples = "samples.npy"', 'mode = "engine"']
        for number in range(members):
            model = getattr(export_nets, kind)(number, classes)
            ir.save(model, folder / f"m{number}.onnx")
            del model
            lines += ["[[member]]", f'name = "m{number}"', f'file = "m{number}.onnx"']
        lines += ["[cuts]", f"exits = {exits}", "ramp_budget = 100", "[serving]", f"max_batch_size = {batch}"]
        (folder / "bag.toml").write_text("\n".join(lines), encoding="utf-8")
        before = _peak_mib()
        watch = OwnMemory()
        start = time.perf_counter()
        report = export_bag(folder / "bag.toml", folder / "repository")
        took = time.perf_counter() - start
        own_mib = watch.stop()
        size = sum(path.stat().st_size for path in (folder / "repository").rglob("*") if path.is_file())
        member_mib = (folder / "m0.onnx").stat().st_size / 2**20
    stages = {f"{stage} s": round(seconds, 1) for stage, seconds in report.seconds.items()}
    member_us = sum(segment.cost_us[1] for member in report.manifest.members for segment in member.segments)
    sizes = sum(report.manifest.members[0].segments[0].cost_us)
    return stages | {
        "cuts": len(report.cuts),
        "seconds": took,
        "least seconds": (rows + sizes) * member_us / 1e6,
        "peak MiB": _peak_mib(),
        "own MiB": own_mib,
        "before MiB": before,
        "allowed MiB": 1024 + 3 * member_mib + 2 * batch * WIDEST_FLOATS[kind] * 4 / 2**20,
        "repository MiB": size / 2**20,
    }


def _save_samples(path: Path, kind: str, rows: int) -> None:
    """Noise, written row by row, so that this process never holds it."""
    side, channels = (export_nets.MOBILE_SIDE, 3) if kind == "mobile" else (export_nets.SIDE, 1)
    rng = np.random.default_rng(0)
    samples = np.lib.format.open_memmap(path, "w+", np.float32, (rows, channels, side, side))
    for row in range(rows):
        samples[row] = rng.normal(size=(channels, side, side))
        if row % 100 == 0:
            release_pages(samples)


class OwnMemory:
    """The most memory of this process that no file holds: without mapped pages, which the system may drop."""

    def __init__(self) -> None:
        self._most = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._end.wait(_WATCHED_S):
            for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
                if line.startswith("RssAnon:"):
                    self._most = max(self._most, int(line.split()[1]))

    def stop(self) -> float:
        """MiB."""
        self._end.set()
        self._thread.join()
        return self._most / 1024


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(afresh: bool) -> None:
    """Every case in a process of its own, so that peaks are its own; kept after each."""
    json_file = RESULTS / "export_scale.json"
    figures = json.loads(json_file.read_text(encoding="utf-8")) if json_file.exists() and not afresh else {}
    for case in CASES:
        name = " ".join(map(str, case))
        if name in figures:
            continue
        line = [sys.executable, "-m", "benchmarks.export_scale", *map(str, case)]
        process = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
        figures[name] = json.loads(process.stdout.splitlines()[-1])
        print(name, figures[name], flush=True)
        json_file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        (RESULTS / "export_scale.md").write_text(_page(figures), encoding="utf-8")


def _page(figures: dict[str, dict[str, float]]) -> str:
    lines = []
    for case in CASES:
        table = figures.get(" ".join(map(str, case)))
        if table is None:
            continue
        cells = [*case, table["cuts"], f"{table['seconds']:.0f}"]
        cells += [f"{table[key]:.0f}" for key in ("least seconds", "train ramps s", "profile s", "before MiB")]
        cells += [f"{table[key]:.0f}" for key in ("peak MiB", "own MiB", "allowed MiB")]
        lines.append([*map(str, cells), f"{table['repository MiB']:.1f}"])
    head = _HEAD.format(cores=os.cpu_count(), machine=platform.machine())
    return f"{head}\n{markdown_table(_COLUMNS, lines)}\n"


if __name__ == "__main__":
    if len(sys.argv) == 6:
        print(json.dumps(measure(sys.argv[1], *map(int, sys.argv[2:]))))
    else:
        main(afresh="--afresh" in sys.argv)
