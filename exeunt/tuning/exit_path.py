"""The path: from "nobody leaves early" to "everybody leaves at the first active exit", each point optimal for its loss.

A point belongs to a price, the latency that one loss is worth. At a price, leaving at exit e costs its latency plus
price x risk, and a row should leave where that is at most the expected cost of going on: optimal stopping, solved on a
window of feedback by backward induction. What going on costs depends on the rows; it is averaged over rows with nearby
risk, among those that come as far as this exit. Lower prices let more rows leave; the path is nested by construction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 64
SWEEPS = 2  # the first knows nothing of who comes as far as an exit, the next use the one before
PRICES = np.concatenate([np.geomspace(3000.0, 0.03, 36), [0.0]])  # in latencies of the full ensemble


@dataclass(frozen=True, slots=True)
class ExitPath:
    """Points of the path, dearest first: the first lets nobody leave, the last everybody at the first active exit.

    Attributes:
        cuts: float64 [points, exits - 1]; a row leaves where its risk < cut. Non-decreasing along the path.
        loss: float64 [points], expected share of losses on the window, non-decreasing.
        latency: float64 [points], expected latency as a share of the full ensemble's.
    """

    cuts: np.ndarray
    loss: np.ndarray
    latency: np.ndarray

    def at(self, position: float) -> np.ndarray:
        """Cuts between two points; float64 [exits - 1]. `position` 0 is the first point."""
        below = min(int(position), len(self.cuts) - 2)
        share = position - below
        if share >= 1.0:
            return np.asarray(self.cuts[-1])
        finite = np.minimum(self.cuts[below + 1], 1.0 + 1e-9)
        return np.asarray(self.cuts[below] + share * (finite - self.cuts[below]))


def find_path(risk: np.ndarray, weights: np.ndarray, latency_us: np.ndarray, active: np.ndarray) -> ExitPath:
    """Solve the optimal stopping problem for every price.

    Args:
        risk: float64 [rows, exits - 1], NaN where an exit was not seen: nobody leaves there.
        weights: float64 [rows].
        latency_us: float64 [exits], of an answer at each exit.
        active: bool [exits].
    """
    rows, early = risk.shape
    spent = latency_us / latency_us[-1]
    exits = [exit_ for exit_ in range(early) if active[exit_]]
    points = len(PRICES) + 1
    cuts = np.zeros((points, early))
    if not exits:
        return ExitPath(cuts, np.zeros(points), np.ones(points))
    cuts[:, exits] = 1.0
    order = {exit_: np.argsort(risk[:, exit_]) for exit_ in exits}  # NaN last
    seen = {exit_: int(np.isfinite(risk[:, exit_]).sum()) for exit_ in exits}
    for sweep in range(SWEEPS):
        comes = _comes(risk, cuts[1:], exits) if sweep else None
        going_on = np.ones((rows, len(PRICES)))
        for exit_ in reversed(exits):
            leave = spent[exit_] + PRICES * risk[:, exit_, None]
            gain = (leave - going_on) * weights[:, None]
            if comes is not None:
                gain *= comes[exit_]
            cuts[1:, exit_] = _best_cut(gain, risk[:, exit_], order[exit_][: seen[exit_]])
            going_on = np.where(risk[:, exit_, None] < cuts[1:, exit_], leave, going_on)
    cuts[0], cuts[-1, exits] = 0.0, np.inf
    cuts = np.maximum.accumulate(cuts, axis=0)
    loss, latency = _replay(risk, weights, spent, cuts, exits)
    return ExitPath(cuts, np.maximum.accumulate(loss), np.minimum.accumulate(latency))


def _best_cut(gain: np.ndarray, risk: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Cut on the risk below which leaving pays in sum, by price; float64 [prices]."""
    cuts = np.zeros(gain.shape[1])
    if not len(order):
        return cuts
    starts = np.unique(np.linspace(0, len(order), BINS, endpoint=False).astype(np.int64))
    summed = np.cumsum(np.add.reduceat(gain[order], starts, axis=0), axis=0)
    edges = np.concatenate([risk[order[starts[1:]]], [risk[order[-1]] * (1.0 + 1e-9) + 1e-12]])
    best = summed.argmin(axis=0)
    pays = summed[best, np.arange(gain.shape[1])] < 0.0
    cuts[pays] = edges[best[pays]]
    return cuts


def _comes(risk: np.ndarray, cuts: np.ndarray, exits: list[int]) -> dict[int, np.ndarray]:
    """Rows that come as far as each exit, by price; bool [rows, prices]."""
    still = np.ones((len(risk), len(cuts)), dtype=bool)
    comes = {}
    for exit_ in exits:
        comes[exit_] = still
        still = still & ~(risk[:, exit_, None] < cuts[:, exit_])
    return comes


def _replay(
    risk: np.ndarray, weights: np.ndarray, spent: np.ndarray, cuts: np.ndarray, exits: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Expected loss and latency of every point, both float64 [points]."""
    still = np.ones((len(risk), len(cuts)), dtype=bool)
    loss, latency = np.zeros(len(cuts)), np.zeros(len(cuts))
    for exit_ in exits:
        leaves = still & (risk[:, exit_, None] < cuts[:, exit_])
        loss += (weights * np.nan_to_num(risk[:, exit_])) @ leaves
        latency += spent[exit_] * (weights @ leaves)
        still &= ~leaves
    latency += weights @ still
    total = weights.sum()
    return loss / total, latency / total
