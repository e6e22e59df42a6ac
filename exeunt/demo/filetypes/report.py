"""What the demo found: tables, sentences and JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from exeunt.demo.accuracies import best_member
from exeunt.demo.filetypes.measure import FiletypesResults, LoadPart
from exeunt.demo.output import measured_here
from exeunt.measuring.summary import stream_labels
from exeunt.measuring.tables import accuracy_table, exits_table, latency_table, percent
from exeunt.tables import table_of

MACHINE_PER_HOUR = 0.0816  # dollars: a rented machine of two cores (m7g.large, us-east-1, June 2026)
MOST_TYPES = 12


def print_report(results: FiletypesResults, console: Console) -> None:
    """Print the tables and what to make of them."""
    for part in results.parts:
        console.print(
            f"\n[bold]{100 * part.load:.0f} % load[/] ({part.rate_per_s:.1f} files/s of the plain ensemble's "
            f"{part.rate_per_s / part.load:.1f}): latency from the scheduled arrival; loss against the full vote"
        )
        console.print(latency_table(part.summaries))
    console.print("[bold]As fast as it goes[/] (closed loop), and what 1000 answers cost")
    console.print(_closed_table(results))
    console.print(
        f"[bold]At equal p99[/], below {results.throughput[0].limit_ms:.0f} ms: highest rate of those that were tried"
    )
    console.print(_throughput_table(results))
    settings = results.prepared.manifest.settings
    console.print(f"[bold]Where answers left[/] (tuner {settings.tuner}, promise {percent(settings.max_loss)})")
    console.print(exits_table({f"{100 * part.load:.0f} % load": part.summaries[0] for part in results.parts}))
    console.print("[bold]Accuracy[/] on a part of the stream: members alone, and their vote")
    console.print(accuracy_table(results.prepared.accuracies))
    console.print("[bold]Accuracy by type of file[/], by the extension: the most frequent types")
    console.print(_types_table(results.parts[-1], results.prepared.manifest.labels))
    for line in sentences(results):
        console.print(line, markup=False)


def sentences(results: FiletypesResults) -> list[str]:
    """The conclusions that a reader should not have to compute."""
    lines = []
    for part in results.parts:
        bag, full, member = part.summaries
        lines.append(
            f"At {100 * part.load:.0f} % load exeunt answers in {bag.p50_ms / full.p50_ms:.2f} of the plain ensemble's "
            f"median time and {bag.p99_ms / full.p99_ms:.2f} of its p99; {percent(bag.loss, 2)} of its labels differ "
            f"from the full vote (promise: {percent(results.prepared.manifest.settings.max_loss)} plus a constant)."
        )
    bag, full, member = results.parts[-1].summaries
    bag_per_s, full_per_s, _ = (throughput.rate_per_s for throughput in results.throughput)
    if bag_per_s and full_per_s:
        lines.append(
            f"With p99 below {results.throughput[0].limit_ms:.0f} ms exeunt takes {bag_per_s:.0f} files/s and the "
            f"plain ensemble {full_per_s:.0f}: {bag_per_s / full_per_s:.1f} times as many."
        )
    best = best_member(results.prepared.accuracies)
    lines.append(
        f"Be fair: the member {best} alone is right on {percent(member.accuracy)}, the vote on "
        f"{percent(full.accuracy)}. One release is nearly as right as all four, and whoever can do with that should "
        "serve it alone. Bags of different models gain more from their vote."
    )
    exits_of_all = len(results.prepared.manifest.exits)
    lines.append(
        f"{results.prepared.types} types of files; exit {exits_of_all - 1} is the full vote. Whole files and "
        "truncated uploads were asked for; no file of the stream was among the samples."
    )
    return lines


def to_mapping(results: FiletypesResults) -> dict[str, Any]:
    """The numbers for JSON."""
    return {
        "bag": results.prepared.manifest.bag,
        "mode": results.prepared.manifest.mode,
        "schedule": results.prepared.manifest.schedule,
        "max_loss": results.prepared.manifest.settings.max_loss,
        "types": results.prepared.types,
        "loads": [
            {
                "load": part.load,
                "rate_per_s": part.rate_per_s,
                "models": [summary.to_mapping() for summary in part.summaries],
            }
            for part in results.parts
        ],
        "closed_loop": [
            {"model": loop.model, "callers": loop.callers, "rows_per_s": loop.rows_per_s, "p50_ms": loop.p50_ms}
            for loop in results.closed
        ],
        "throughput_at_equal_p99": [
            {"model": throughput.model, "rate_per_s": throughput.rate_per_s, "tried": throughput.tried}
            for throughput in results.throughput
        ],
        "accuracy": results.prepared.accuracies,
        **measured_here(),
    }


def _closed_table(results: FiletypesResults) -> Table:
    rows = []
    for loop in results.closed:
        dollars = MACHINE_PER_HOUR / 3600 / loop.rows_per_s * 1000
        rows.append((loop.model, f"{loop.rows_per_s:.1f}", f"{loop.p50_ms:.1f}", f"{dollars:.5f}"))
    callers = results.closed[0].callers
    return table_of(("model", f"files/s, {callers} callers", "p50 ms", "$ per 1000 answers"), rows)


def _throughput_table(results: FiletypesResults) -> Table:
    plain = results.throughput[1].rate_per_s
    rows = []
    for throughput in results.throughput:
        p99_ms = [f"{p99:.0f}" for _, p99 in throughput.tried]
        within = sum(rate <= throughput.rate_per_s for rate, _ in throughput.tried)
        there, beyond = (p99_ms[place] if 0 <= place < len(p99_ms) else "-" for place in (within - 1, within))
        ratio = f"{throughput.rate_per_s / plain:.1f}" if plain else "-"
        rows.append((throughput.model, f"{throughput.rate_per_s:.1f}", ratio, there, beyond))
    return table_of(("model", "files/s", "ratio", "p99 ms", "p99 ms at the next"), rows)


def _types_table(part: LoadPart, labels: tuple[str, ...]) -> Table:
    models = [summary.model for summary in part.summaries]
    answered = {model: stream_labels(part.run.outcomes[model]) for model in models}
    numbers, counts = np.unique(part.stream.truth, return_counts=True)
    rows = []
    for place in np.argsort(-counts, kind="stable")[:MOST_TYPES]:
        here = part.stream.truth == numbers[place]
        shares = [percent(float((answered[model][here] == numbers[place]).mean())) for model in models]
        rows.append((labels[numbers[place]], str(counts[place]), *shares))
    return table_of(("type", "files", *models), rows)
