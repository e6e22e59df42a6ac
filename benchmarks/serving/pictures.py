"""Pictures of the serving benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.bench_bag import SCHEDULES
from benchmarks.serving.load import Point
from benchmarks.serving.report import point_of

ENGINE_COLOURS = dict(zip(SCHEDULES, ("#0b6e99", "#c4572b", "#6b7a3a"), strict=True))
PLAIN_COLOUR, ENSEMBLE_COLOUR, MEMBER_COLOUR = "#444444", "#7a4f8f", "#999999"


def draw(figures: Mapping[str, Any], contenders: Sequence[str], folder: Path) -> None:
    """Draw latency over load, its distribution at the lowest load, and exits along that stream, into `folder`."""
    points = [point_of(entry) for entry in figures["points"]]
    if not points:
        return
    light = [point for point in points if point.load == points[0].load]
    draw_load(points, folder / "serving_load.png")
    draw_distribution(light, folder / "serving_cdf.png", f"latency at {light[0].load:.0%} load")
    draw_exits([point for point in light if point.model in contenders], folder / "serving_exits.png")


def draw_load(points: Sequence[Point], path: Path) -> None:
    """Median and 99th percentile over load, one line per contender."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogFormatter

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharex=True, layout="constrained")
    for model in dict.fromkeys(point.model for point in points):
        model_points = sorted((point for point in points if point.model == model), key=lambda point: point.load)
        loads = [100 * point.load for point in model_points]
        for axis, name in zip(axes, ("p50", "p99"), strict=True):
            ranges = np.array([getattr(point, f"{name}_range_ms") for point in model_points])
            axis.plot(
                loads, [getattr(point, f"{name}_ms") for point in model_points], "o-", color=colour(model), label=model
            )
            axis.fill_between(loads, ranges[:, 0], ranges[:, 1], color=colour(model), alpha=0.15, linewidth=0)
    for axis, title in zip(axes, ("median", "99th percentile"), strict=True):
        axis.set(title=title, xlabel="arrivals, % of the plain ensemble's capacity", ylabel="latency, ms", yscale="log")
        for ticks in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
            ticks(LogFormatter(minor_thresholds=(3, 1)))  # 50 and 200, not 5 x 10^1
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def draw_distribution(points: Sequence[Point], path: Path, title: str) -> None:
    """Distribution of latencies in one run."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for point in points:
        axis.plot(point.quantiles_ms, np.linspace(0, 1, 101), color=colour(point.model), label=point.model)
    axis.set(title=title, xlabel="latency, ms", ylabel="share of requests", xscale="log", ylim=(0, 1))
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def draw_exits(points: Sequence[Point], path: Path) -> None:
    """Share of answers per exit along the stream."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(points), 1, figsize=(9, 2.2 * len(points)), sharex=True, layout="constrained", squeeze=False
    )
    for axis, point in zip(axes[:, 0], points, strict=True):
        shares = [point.course[exit_] for exit_ in sorted(point.course)]
        places = np.linspace(0, 1, len(shares[0]))
        shades = plt.get_cmap("viridis")(np.linspace(0.15, 0.95, len(shares)))
        axis.stackplot(places, shares, labels=[f"exit {exit_}" for exit_ in sorted(point.course)], colors=shades)
        axis.set(title=point.model, ylabel="share of answers", ylim=(0, 1))
        axis.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes[-1, 0].set_xlabel("along the stream")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def colour(model: str) -> str:
    """A contender's colour, the same in every picture."""
    end = model.rsplit("_", 1)[-1]
    if end in ENGINE_COLOURS:
        return ENGINE_COLOURS[end]
    if end == "full":
        return PLAIN_COLOUR
    return MEMBER_COLOUR if "_" in model else ENSEMBLE_COLOUR
