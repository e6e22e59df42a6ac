"""The picture of a replay: how latency and loss went along a stream."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from exeunt.figures import new_figure, save_figure
from exeunt.manifest import Costs
from exeunt.replay.run import ReplayRun, losses_of
from exeunt.replay.stream import VoteStream

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#666666")  # Okabe and Ito
WINDOW_ROWS = 500


def plot_course(stream: VoteStream, runs: Sequence[ReplayRun], costs: Costs, max_loss: float, path: Path) -> None:
    """Latency and loss along one stream, means over WINDOW_ROWS rows."""
    figure, (above, below) = new_figure(2, 1, (8.0, 5.2), sharex=True)
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
    save_figure(figure, path)


def _moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    summed = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return (summed[window:] - summed[:-window]) / window
