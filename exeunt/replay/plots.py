"""Pictures of replays: how latency and loss went along a stream, and what each policy paid for its latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exeunt.manifest import Costs
from exeunt.replay.run import ReplayResult, ReplayRun, losses_of
from exeunt.replay.stream import VoteStream

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#666666")  # Okabe and Ito
MARKERS = "osD^vPX*"
WINDOW_ROWS = 500


def plot_course(stream: VoteStream, runs: Sequence[ReplayRun], costs: Costs, max_loss: float, path: Path) -> None:
    """Latency and loss along one stream, means over WINDOW_ROWS rows."""
    figure, (above, below) = _figure(2, 1, (8.0, 5.2), sharex=True)
    answered = stream.finished & np.all([run.exit >= 0 for run in runs], axis=0)  # what all runs can be judged by
    rows = int(answered.sum())
    window = min(WINDOW_ROWS, max(1, rows // 4))
    at = np.arange(rows - window + 1) + window // 2
    for number, run in enumerate(runs):
        style: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "linewidth": 1.3, "label": run.policy}
        above.plot(at, _moving_mean(run.latency_us[answered] / costs.elapsed_us[-1], window), **style)
        below.plot(at, 100 * _moving_mean(losses_of(stream, run)[answered], window), **style)
    below.axhline(100 * max_loss, color="black", linewidth=0.8, linestyle="--", label="promise")
    above.set_ylabel("latency, share of\nthe plain ensemble's")
    below.set_ylabel("loss, %")
    below.set_xlabel(f"rows (means over {window})")
    above.set_title(stream.name, loc="left")
    below.legend(fontsize=7, ncols=2, frameon=False)
    _save(figure, path)


def plot_prices(results: Mapping[str, Sequence[ReplayResult]], max_loss: float, path: Path) -> None:
    """For each stream, mean latency (across) and loss (up) of each policy."""
    across = min(3, len(results))
    down = -(-len(results) // across)
    figure, grid = _figure(down, across, (3.1 * across + 0.4, 2.5 * down + 0.6), sharey=True)
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
    _save(figure, path)


def _moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    summed = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return (summed[window:] - summed[:-window]) / window


def _figure(down: int, across: int, inches: tuple[float, float], **options: Any) -> Any:
    from matplotlib.figure import Figure  # not pyplot: no display, no global state

    figure = Figure(figsize=inches, layout="constrained")
    return figure, figure.subplots(down, across, **options)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
