"""The demo's picture: how long answers took, where they left, and what became of the promise."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exeunt.demo.filetypes.measure import FiletypesResults, LoadPart
from exeunt.figures import INK, new_figure, save_figure, without_frame
from exeunt.measuring.plots import Course

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0b6e99", "#c4572b", "#8a8a8a")  # exeunt, the plain ensemble, the best member alone


def draw(results: FiletypesResults, path: Path) -> None:
    """Write the picture as PNG."""
    figure, axes = new_figure(1, 3, (13, 4))
    _latencies(axes[0], results)
    _departures(axes[1], results)
    _promise(axes[2], results.parts[-1], results.prepared.manifest.settings.max_loss)
    figure.suptitle(
        f"What is this file? Four published models vote, on {os.cpu_count()} cores",
        color=INK,
        fontsize=13,
        x=0.01,
        ha="left",
    )
    save_figure(figure, path, 120)


def _latencies(axis: Axes, results: FiletypesResults) -> None:
    groups = [(part, name) for part in results.parts for name in ("p50", "p99")]
    width = 0.27
    for place, (part, name) in enumerate(groups):
        for number, summary in enumerate(part.summaries):
            value_ms = summary.p50_ms if name == "p50" else summary.p99_ms
            label = ("exeunt", "plain Triton ensemble", "best member alone")[number] if not place else None
            axis.bar(place + (number - 1) * width, value_ms, width, color=COLOURS[number], label=label)
            axis.text(place + (number - 1) * width, value_ms, f"{value_ms:.0f}", ha="center", va="bottom", fontsize=8)
    axis.set_xticks(range(len(groups)), [f"{name}\n{100 * part.load:.0f} % load" for part, name in groups])
    axis.set_yscale("log")
    axis.set_title("latency, ms (log scale)", loc="left", fontsize=10)
    axis.set_ylim(top=6 * axis.get_ylim()[1])  # room for the legend
    axis.legend(frameon=False, fontsize=8, loc="upper left")
    _plain(axis)


def _departures(axis: Axes, results: FiletypesResults) -> None:
    last = len(results.prepared.manifest.exits) - 1
    for place, part in enumerate(results.parts):
        start = 0.0
        for exit_ in range(last + 1):
            share = part.summaries[0].exits.get(exit_, 0.0)
            shade = 0.25 + 0.6 * exit_ / max(last, 1)
            colour = COLOURS[1] if exit_ == last else (0.04 * shade, 0.43 * (1.3 - shade), 0.6 * (1.5 - shade) * 0.9)
            axis.barh(place, share, 0.5, left=start, color=colour, edgecolor="white")
            if share > 0.1:
                text = f"exit {exit_}" if exit_ < last else "full"
                axis.text(
                    start + share / 2,
                    place,
                    f"{text}\n{100 * share:.0f} %",
                    ha="center",
                    va="center",
                    color="w",
                    fontsize=8,
                )
            start += share
    axis.set_yticks(range(len(results.parts)), [f"{100 * part.load:.0f} % load" for part in results.parts])
    axis.set_xticks([])
    axis.set_title("where answers left", loc="left", fontsize=10)
    _plain(axis)


def _promise(axis: Axes, part: LoadPart, max_loss: float) -> None:
    course = Course.of(part.run.outcomes[part.summaries[0].model], part.full)
    rows = np.arange(1, len(course.lost) + 1)
    axis.plot(rows, np.cumsum(course.lost), color=COLOURS[0], label="answers that differ from the full vote")
    axis.plot(
        rows,
        max_loss * rows,
        color=INK,
        linewidth=1,
        linestyle="--",
        label=f"promise: {100 * max_loss:g} %, plus a constant",
    )
    axis.fill_between(
        rows,
        0,
        part.stream.broken[: len(rows)] * max(1.0, max_loss * rows[-1]),
        color="#dddddd",
        step="mid",
        linewidth=0,
        zorder=0,
        label="share of truncated uploads",
    )
    axis.set_xlabel(f"files asked, {100 * part.load:.0f} % load", fontsize=9)
    axis.set_title("the promise along a drifting stream", loc="left", fontsize=10)
    axis.legend(frameon=False, fontsize=8, loc="upper left")
    _plain(axis)


def _plain(axis: Axes) -> None:
    without_frame(axis)
    axis.tick_params(colors=INK, labelsize=8)
