"""The path: from "nobody leaves early" to "everybody leaves at the first active exit", each point optimal for its loss.

A point belongs to a price, the latency that one loss is worth. At a price, leaving at an exit costs its latency plus
price x risk, and a row should leave where that is at most the expected cost of going on: optimal stopping, solved on a
window of feedback by backward induction. What going on costs is averaged over rows with nearby risk, among those that
come as far as this exit. Lower prices let more rows leave; the path is nested: who leaves at a point leaves at every
later one, there or before.
"""

from __future__ import annotations

import numpy as np

from exeunt.tuning.error_budget.rule import PRICES, ExitPath

BINS = 32  # candidates for a cut


def find_path(
    risk: np.ndarray, weights: np.ndarray, spent: np.ndarray, active: np.ndarray, before: ExitPath | None = None
) -> ExitPath:
    """Solve the optimal stopping problem for every price.

    Args:
        risk: float64 [rows, exits - 1], NaN where an exit was not seen: nobody leaves there.
        weights: float64 [rows].
        spent: float64 [exits], latency of an answer at each exit, in latencies of the full ensemble.
        active: bool [exits].
        before: the previous path, which tells who comes as far as an exit; without one the problem is solved twice.
    """
    risk, weights = risk.astype(np.float32), weights.astype(np.float32)
    exits = [int(exit_) for exit_ in np.flatnonzero(active[:-1])]
    cuts = np.zeros((len(PRICES) + 1, risk.shape[1]))
    if not exits or not len(risk):
        return ExitPath(cuts, np.zeros(len(cuts)), np.ones(len(cuts)))
    assumed = None if before is None else before.cuts[1:]
    for _ in range(2 if before is None else 1):
        assumed = _solve(risk, weights, spent, exits, PRICES, assumed)
    cuts[1:] = assumed
    cuts[-1, exits] = np.inf
    cuts = np.maximum.accumulate(cuts, axis=0)
    loss, latency = _replay(risk, weights, spent, exits, cuts)
    return ExitPath(cuts, np.maximum.accumulate(loss), np.minimum.accumulate(latency))


def best_cost(risk: np.ndarray, weights: np.ndarray, spent: np.ndarray, active: np.ndarray, price: float) -> float:
    """Expected latency + price x loss of the best cuts for one price; arguments as for `find_path`."""
    risk, weights = risk.astype(np.float32), weights.astype(np.float32)
    exits = [int(exit_) for exit_ in np.flatnonzero(active[:-1])]
    prices, assumed = np.array([price]), None
    for _ in range(2):
        assumed = _solve(risk, weights, spent, exits, prices, assumed)
    assert assumed is not None
    loss, latency = _replay(risk, weights, spent, exits, assumed)
    return float(latency[0] + price * loss[0])


def _solve(
    risk: np.ndarray,
    weights: np.ndarray,
    spent: np.ndarray,
    exits: list[int],
    prices: np.ndarray,
    assumed: np.ndarray | None,
) -> np.ndarray:
    """Cuts by price, float64 [prices, exits - 1]; `assumed` cuts tell who comes as far as an exit."""
    paid, latency = prices.astype(np.float32), spent.astype(np.float32)
    cuts = np.zeros((len(prices), risk.shape[1]))
    comes = None if assumed is None else _comes(risk, assumed, exits)
    going_on = np.full((len(risk), len(prices)), latency[-1])
    for exit_ in reversed(exits):
        here = risk[:, exit_, None]
        leave = latency[exit_] + paid * here
        gain = leave - going_on
        gain *= weights[:, None] if comes is None else comes[exit_] * weights[:, None]
        cuts[:, exit_] = _best_cut(gain, risk[:, exit_])
        np.copyto(going_on, leave, where=here < cuts[:, exit_].astype(np.float32))
    return cuts


def _best_cut(gain: np.ndarray, risk: np.ndarray) -> np.ndarray:
    """Cut on the risk below which leaving pays most in sum, by price; float64 [prices]."""
    cuts = np.zeros(gain.shape[1])
    order = np.argsort(risk)[: np.count_nonzero(np.isfinite(risk))]  # NaN is sorted last
    if not len(order):
        return cuts
    starts = even_starts(risk[order], BINS)
    summed = np.cumsum(np.add.reduceat(gain[order], starts, axis=0), axis=0)
    edges = np.append(risk[order[starts[1:]]], np.nextafter(risk[order[-1]], np.float32(2.0)))
    best = summed.argmin(axis=0)
    pays = summed[best, np.arange(len(cuts))] < 0.0
    cuts[pays] = edges[best[pays]]
    return cuts


def even_starts(risk: np.ndarray, bins: int) -> np.ndarray:
    """Where to cut rows with ascending risk, float [rows], into at most `bins` bins; int64 [bins], first 0.

    Every bin holds the same sum of its share of the rows and its share of the risk: fine where many rows are, and fine
    where the losses are.
    """
    mass = np.cumsum(risk / max(float(risk.sum()), 1e-12) + 1.0 / len(risk))
    starts = np.searchsorted(mass, np.linspace(0.0, mass[-1], bins, endpoint=False))
    return np.unique(np.minimum(starts, len(risk) - 1))


def _comes(risk: np.ndarray, cuts: np.ndarray, exits: list[int]) -> dict[int, np.ndarray]:
    """Rows that come as far as each exit, by price; bool [rows, prices]."""
    still = np.ones((len(risk), len(cuts)), dtype=bool)
    comes = {}
    for exit_ in exits:
        comes[exit_] = still
        still = still & ~(risk[:, exit_, None] < cuts[:, exit_].astype(np.float32))
    return comes


def _replay(
    risk: np.ndarray, weights: np.ndarray, spent: np.ndarray, exits: list[int], cuts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Expected loss and latency by cuts, both float64 [points]."""
    still = np.ones((len(risk), len(cuts)), dtype=bool)
    loss, latency = np.zeros(len(cuts)), np.zeros(len(cuts))
    for exit_ in exits:
        leaves = still & (risk[:, exit_, None] < cuts[:, exit_].astype(np.float32))
        loss += _summed(weights * np.nan_to_num(risk[:, exit_]), leaves)
        latency += spent[exit_] * _summed(weights, leaves)
        still &= ~leaves
    latency += spent[-1] * _summed(weights, still)
    return loss / weights.sum(), latency / weights.sum()


def _summed(weights: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Summed weights of the chosen rows, float64 [points]; not by `@`, whose BLAS would wake a thread per core."""
    return np.einsum("r,rp->p", weights, counted.astype(np.float32)).astype(np.float64)
