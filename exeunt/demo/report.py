"""What the demo found: printed, as JSON, and as a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from exeunt.demo.accounting import SEGMENTS, Line
from exeunt.demo.output import measured_here
from exeunt.manifest import Manifest
from exeunt.measuring.load import LoadRun
from exeunt.measuring.plots import Course, run_picture
from exeunt.measuring.summary import Summary
from exeunt.measuring.tables import accuracy_table, exits_table, latency_table, percent
from exeunt.settings import Settings
from exeunt.tables import table_of


@dataclass(slots=True)
class DigitsResults:
    """Everything the demo measured.

    Attributes:
        manifests: of the bags, one for each mode.
        rate_per_s: of the Poisson stream.
        summaries: of each bag, and of the plain ensemble, which comes last.
        accuracies: share of true labels on the same stream by member, and of their vote, computed without a server.
        lines: where the server's time went.
        wall_ms: mean time of a request inside the server, by model.
        cpu_share: of the load generator.
        run: the outcomes themselves.
        full: int64 [rows], the plain ensemble's label.
        noise: float64 [rows], on each image of the stream.
        prepared_s: of training and export.
        total_s: of the whole demo.
    """

    manifests: tuple[Manifest, ...]
    rate_per_s: float
    summaries: list[Summary]
    accuracies: dict[str, float]
    lines: list[Line]
    wall_ms: dict[str, float | None]
    cpu_share: float
    run: LoadRun
    full: np.ndarray
    noise: np.ndarray
    prepared_s: float = 0.0
    total_s: float = 0.0

    @property
    def settings(self) -> Settings:
        """Exit settings, the same for every bag."""
        return self.manifests[0].settings

    def to_mapping(self) -> dict[str, Any]:
        """The numbers for JSON."""
        return {
            "bags": {
                manifest.bag: {"mode": manifest.mode, "schedule": manifest.schedule} for manifest in self.manifests
            },
            "tuner": self.settings.tuner,
            "max_loss": self.settings.max_loss,
            "rate_per_s": self.rate_per_s,
            "models": [summary.to_mapping() for summary in self.summaries],
            "accuracy": self.accuracies,
            "server_wall_ms": self.wall_ms,
            "server_time": [asdict(line) for line in self.lines],
            "load_generator_cpu_share": self.cpu_share,
            "prepared_s": self.prepared_s,
            "total_s": self.total_s,
            **measured_here(),
        }


def print_report(results: DigitsResults, console: Console) -> None:
    """Print the tables and what to make of them."""
    settings = results.settings
    console.print("\n[bold]Latency[/] from the scheduled arrival; loss against the full vote")
    console.print(latency_table(results.summaries))
    console.print(f"[bold]Where answers left[/] (tuner {settings.tuner}, max_loss {percent(settings.max_loss)})")
    console.print(exits_table({summary.model: summary for summary in results.summaries}))
    console.print("[bold]Accuracy[/] on the same noisy stream: members alone, and their vote")
    console.print(accuracy_table(results.accuracies))
    console.print("[bold]Where the server's time goes[/], ms per request, summed over what runs side by side")
    console.print(_time_table(results.lines))
    for line in _in_words(results):
        console.print(line, markup=False)
    for summary in results.summaries:
        if summary.failed:
            line = f"{summary.failed} requests to {summary.model} failed, the first: {summary.first_error}"
            console.print(line, markup=False)


def draw(results: DigitsResults, path: Path) -> None:
    """Draw latency, exits and loss."""
    bags = [
        manifest.bag
        for manifest in results.manifests
        if any(o.answers is not None for o in results.run.outcomes[manifest.bag])
    ]
    courses = {bag: Course.of(results.run.outcomes[bag], results.full) for bag in bags}
    title = f"{results.rate_per_s:.0f} requests/s, drifting noise, {os.cpu_count()} cores"
    run_picture(results.run, courses, path, title, results.settings.max_loss, results.noise)


def _time_table(lines: Sequence[Line]) -> Table:
    rows = []
    for line in lines:
        alone = "-" if line.profile_ms is None else f"{line.profile_ms:.2f}"
        numbers = (f"{line.runs:.1f}", f"{line.infer_ms:.2f}", alone, f"{line.queue_ms:.2f}", f"{line.copy_ms:.2f}")
        rows.append((f"{line.public}: {line.group}", *numbers))
    return table_of(("model: its work", "runs", "in server", "alone", "queueing", "copying"), rows)


def _in_words(results: DigitsResults) -> list[str]:
    """The conclusions that a reader should not have to compute."""
    *bags, full = results.summaries
    sentences = [
        f"{summary.model} answers in {summary.p50_ms / full.p50_ms:.2f} of the plain ensemble's median time, "
        f"{summary.p99_ms / full.p99_ms:.2f} of its p99."
        for summary in bags
    ]
    for line in results.lines:
        if line.group == SEGMENTS and line.profile_ms is not None:
            sentences.append(
                f"{line.public}: its segments need {line.profile_ms:.1f} ms of one core when run alone in one process, "
                f"but take {line.infer_ms:.1f} ms in the server: here each segment is a Python process of its own, so "
                f"one input makes {line.runs:.0f} hops between processes that share {os.cpu_count()} cores. On "
                "NVIDIA's native backends segments run inside Triton."
            )
    if any(manifest.mode == "engine" for manifest in results.manifests):
        sentences.append(
            "In engine mode the segments run inside the exit controller, without hops; Triton cannot see them."
        )
    sentences.append(
        f"Training and export took {results.prepared_s:.0f} s of {results.total_s:.0f} s in all. The load generator "
        f"used {percent(results.cpu_share)} of one core; p99 of its own lateness, which counts as latency, was "
        f"{max(summary.late_p99_ms for summary in results.summaries):.1f} ms."
    )
    return sentences
