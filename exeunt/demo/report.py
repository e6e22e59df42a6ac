"""What the demo found: printed, as JSON, and as a picture."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import exeunt
from exeunt.client.load import LoadRun
from exeunt.client.measure import Summary
from exeunt.client.plots import Course, run_picture
from exeunt.client.tables import accuracy_table, exits_table, latency_table, percent
from exeunt.demo.accounting import Line
from exeunt.manifest import Manifest


@dataclass(slots=True)
class Measured:
    """Everything the demo measured.

    Attributes:
        manifest: of the bag.
        rate_per_s: of the Poisson stream.
        summaries: of each model, the early-exit one first.
        accuracies: share of true labels on the same stream by member, and of their vote, computed without a server.
        lines: where the server's time went.
        wall_ms: mean time of a request inside the server, by model.
        cpu_share: of the load generator.
        run: the outcomes themselves.
        full: int64 [rows], the plain ensemble's label.
        noise: float64 [rows], on each image of the stream.
        total_s: of the whole demo, training included.
    """

    manifest: Manifest
    rate_per_s: float
    summaries: list[Summary]
    accuracies: dict[str, float]
    lines: list[Line]
    wall_ms: dict[str, float | None]
    cpu_share: float
    run: LoadRun
    full: np.ndarray
    noise: np.ndarray
    total_s: float = 0.0

    def to_mapping(self) -> dict[str, Any]:
        """The numbers for JSON."""
        settings = self.manifest.settings
        return {
            "bag": self.manifest.bag,
            "mode": self.manifest.mode,
            "tuner": settings.tuner,
            "max_loss": settings.max_loss,
            "rate_per_s": self.rate_per_s,
            "models": [each.to_mapping() for each in self.summaries],
            "accuracy": self.accuracies,
            "server_wall_ms": self.wall_ms,
            "server_time": [each.to_mapping() for each in self.lines],
            "load_generator_cpu_share": self.cpu_share,
            "total_s": self.total_s,
            "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
            "exeunt": exeunt.__version__,
        }


def print_report(measured: Measured, console: Console) -> None:
    """Print the tables and what to make of them."""
    settings = measured.manifest.settings
    console.print()
    console.print(latency_table(measured.summaries, "Latency from the scheduled arrival; loss against the full vote"))
    told = f"Where answers left (tuner {settings.tuner}, max_loss {percent(settings.max_loss)})"
    console.print(exits_table(measured.summaries, told))
    console.print(accuracy_table(measured.accuracies, "Accuracy on the same noisy stream, members alone and together"))
    console.print(_time_table(measured.lines))
    for line in _in_words(measured):
        console.print(line)
    for summary in measured.summaries:
        if summary.failed:
            console.print(f"{summary.failed} requests to {summary.model} failed, the first: {summary.first_error}")


def save(measured: Measured, path: Path) -> None:
    """Write the numbers as JSON."""
    path.write_text(json.dumps(measured.to_mapping(), indent=1) + "\n", encoding="utf-8")


def draw(measured: Measured, path: Path) -> None:
    """Draw latency, exits and loss."""
    model = measured.summaries[0].model
    courses = {model: Course.of(measured.run.outcomes[model], measured.full)}
    title = f"{model}: {measured.rate_per_s:.0f} requests/s, drifting noise, {os.cpu_count()} cores"
    run_picture(measured.run, courses, path, title, measured.manifest.settings.max_loss, measured.noise)


def _time_table(lines: Sequence[Line]) -> Table:
    from rich.box import SIMPLE_HEAD

    table = Table(
        title="Where the server's time goes, ms per request of the model, summed over what runs side by side",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
    )
    table.add_column("model", no_wrap=True)
    table.add_column("work", no_wrap=True)
    for name in ("runs", "in backends", "profiled", "queueing", "copying"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        profiled = "-" if line.profile_ms is None else f"{line.profile_ms:.2f}"
        numbers = (f"{line.runs:.1f}", f"{line.infer_ms:.2f}", profiled, f"{line.queue_ms:.2f}", f"{line.copy_ms:.2f}")
        table.add_row(line.public, line.group, *numbers)
    return table


def _in_words(measured: Measured) -> list[str]:
    """The conclusions that a reader should not have to compute."""
    early, full = measured.summaries[0], measured.summaries[-1]
    told = []
    if early.p50_ms and full.p50_ms:
        told.append(
            f"{early.model} answers in {early.p50_ms / full.p50_ms:.2f}x the plain ensemble's median time and "
            f"{early.p99_ms / full.p99_ms:.2f}x its p99."
        )
    for line in measured.lines:
        if line.profile_ms and line.profile_ms < line.infer_ms:
            told.append(
                f"{line.public}, {line.group}: of {line.infer_ms:.1f} ms in the backends the models need "
                f"{line.profile_ms:.1f} ms when run alone in one process; the other "
                f"{line.infer_ms - line.profile_ms:.1f} ms are {line.runs:.0f} process hops and rivalry for the cores."
            )
    told.append(
        "This mode is for GPU hosts, where segments run inside Triton; on a CPU, from the pip wheel, each segment is a "
        "Python process of its own."
    )
    told.append(f"Load generator: {percent(measured.cpu_share)} of one core. Whole demo: {measured.total_s:.0f} s.")
    return told
