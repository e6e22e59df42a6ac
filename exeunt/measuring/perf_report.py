"""The report of a load test: JSON for machines, a table for people, a picture of both models."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import exeunt
from exeunt.figures import new_figure, save_figure
from exeunt.measuring.perf import PerfPlan, PerfRun
from exeunt.tables import markdown_table, table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

_KINDS = {"concurrency": "requests in flight", "rate": "requests/s sent"}
_COLUMNS = ("model", "load", "requests/s", "p50 ms", "p95 ms", "p99 ms", "exits 0, 1, ...", "loss", "failed")


def table(runs: Sequence[PerfRun]) -> Table:
    """One line per run, for the terminal."""
    return table_of(_COLUMNS, map(_cells, runs), left_columns=("model", "load"))


def markdown(runs: Sequence[PerfRun]) -> str:
    """The same for a document."""
    return markdown_table(_COLUMNS, list(map(_cells, runs))) + "\n"


def _cells(run: PerfRun) -> list[str]:
    numbers = [
        f"{number:.1f}" for number in (run.throughput, *(run.latency_ms[name] for name in ("p50", "p95", "p99")))
    ]
    exits = " / ".join(f"{share:.0%}" for share in run.exits.values())
    loss = "" if run.loss is None else f"{run.loss:.2%}"
    return [run.model, f"{run.level:g} {_KINDS[run.kind]}", *numbers, exits, loss, str(run.failed)]


def save(plan: PerfPlan, runs: Sequence[PerfRun], folder: Path, analyzer: str) -> dict[str, Any]:
    """Write perf.json, perf.md and perf.png.

    Returns:
        the report as in perf.json.
    """
    report = {
        "exeunt": exeunt.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "perf_analyzer": analyzer,
        "bag": plan.bag,
        "protocol": plan.protocol,
        "requests_per_run": plan.requests,
        "rows_per_request": plan.rows,
        "runs": [asdict(run) for run in runs],
    }
    (folder / "perf.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (folder / "perf.md").write_text(markdown(runs), encoding="utf-8")
    draw(runs, plan.bag, folder / "perf.png")
    return report


def draw(runs: Sequence[PerfRun], bag: str, path: Path) -> None:
    """Picture: latency against throughput for each model and kind of load, and the exits by level."""
    kinds = list(dict.fromkeys(run.kind for run in runs))
    figure, axes = new_figure(len(kinds), 2, (11, 3.8 * len(kinds)), squeeze=False)
    for kind, (latency_axes, exits_axes) in zip(kinds, axes, strict=True):
        of_kind = [run for run in runs if run.kind == kind]
        _draw_latency(latency_axes, of_kind, kind)
        _draw_exits(exits_axes, [run for run in of_kind if run.model == bag], kind)
    save_figure(figure, path)


def _draw_latency(axes: Axes, runs: Sequence[PerfRun], kind: str) -> None:
    from matplotlib.ticker import LogLocator

    for number, model in enumerate(dict.fromkeys(run.model for run in runs)):
        ours = [run for run in runs if run.model == model]
        x = [run.level if kind == "rate" else run.throughput for run in ours]
        for name, style in (("p50", "-"), ("p99", "--")):
            y = [run.latency_ms[name] for run in ours]
            axes.plot(x, y, style, marker="o", markersize=4, color=f"C{number}", label=f"{model} {name}")
    axes.set_xlabel("requests/s sent (Poisson)" if kind == "rate" else "requests/s answered, by requests in flight")
    axes.set_ylabel("latency, ms")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.grid(True, alpha=0.25)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _draw_exits(axes: Axes, runs: Sequence[PerfRun], kind: str) -> None:
    bottoms = [0.0] * len(runs)
    names = [f"{run.level:g}" for run in runs]
    exits = sorted({int(exit_) for run in runs for exit_ in run.exits})
    for exit_ in exits:
        shares = [run.exits.get(str(exit_), 0.0) for run in runs]
        layer = f"exit {exit_}" if exit_ < exits[-1] else "full ensemble"
        axes.bar(names, shares, 0.7, bottom=bottoms, label=layer, color=f"C{exit_}" if exit_ < exits[-1] else "0.8")
        bottoms = [low + share for low, share in zip(bottoms, shares, strict=True)]
    for number, run in enumerate(runs):
        if run.loss is not None:
            axes.text(number, 1.01, f"loss {run.loss:.2%}", ha="center", va="bottom", fontsize=8)
    axes.set_ylim(0, 1.1)
    axes.set_xlabel(_KINDS[kind])
    axes.set_ylabel("share of rows")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
