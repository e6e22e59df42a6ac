"""The picture of a comparison: what each policy paid for its latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exeunt.figures import new_figure, save_figure
from exeunt.replay.plots import COLOURS
from exeunt.replay.run import ReplayResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^vPX*"


def plot_prices(results: Mapping[str, Sequence[ReplayResult]], max_loss: float, path: Path) -> None:
    """For each stream, mean latency (across) and loss (up) of each policy."""
    across = min(3, len(results))
    down = -(-len(results) // across)
    figure, grid = new_figure(down, across, (3.1 * across + 0.4, 2.5 * down + 0.6), sharey=True)
    axes: list[Axes] = list(np.atleast_1d(grid).reshape(-1))
    for axis, (stream, of_stream) in zip(axes, results.items(), strict=False):
        for number, result in enumerate(of_stream):
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            axis.scatter(result.mean_latency, 100 * result.loss, color=colour, marker=marker, s=34, label=result.policy)
        axis.axhline(100 * max_loss, color="black", linewidth=0.8, linestyle="--")
        axis.set_title(stream, fontsize=9, loc="left")
        axis.tick_params(labelsize=7)
    for axis in axes[len(results) :]:
        axis.axis("off")
    figure.supxlabel("mean latency, share of the plain ensemble's", fontsize=8)
    figure.supylabel("loss, %", fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=7, frameon=False)
    save_figure(figure, path)
