"""The spending plan: how far along the path to be, by what is left of the error budget.

The reserve of a class of service fills by eps with every answer, up to 1 / g, and every loss takes one from it. Spent
too fast it runs dry, and everybody waits for the full vote until it has recovered; spent too slowly it overflows, and
latency is given away. How to spend it best is a small Markov decision process over the reserve, whose actions are the
points of the path with their expected loss and latency. Policy iteration minimises its average latency; the price of a
loss, which says where on the path to be, is what one loss less in the reserve costs. It falls as the reserve grows.
"""

from __future__ import annotations

import numpy as np

from exeunt.tuning.exit_path import PRICES, ExitPath

LEVELS_PER_LOSS = 8  # resolution of the reserve
MOST_LEVELS = 256
ROUNDS = 12  # policy iteration ends after 3 to 6


def plan(path: ExitPath, eps: float, capacity: float) -> np.ndarray:
    """Position on the path by reserve.

    Args:
        path: points with their expected loss and latency.
        eps: promised share of losses; the reserve grows by it per answer.
        capacity: upper end of the reserve, in losses.

    Returns:
        float64 [levels], non-decreasing positions for reserves from 0 (position 0) to the capacity, evenly spaced.
    """
    debt = max(1, min(LEVELS_PER_LOSS, int(MOST_LEVELS / (capacity + 1.0))))  # levels that one loss takes
    levels = max(2, round(capacity * debt) + 1)
    if eps <= 0.0 or path.loss[-1] <= 0.0:
        return np.append(0.0, np.full(levels - 1, 0.0 if eps <= 0.0 else len(PRICES)))
    states = levels + debt  # the first `debt` of them are below 0
    here = np.arange(states)
    above, below = np.minimum(here + 1, states - 1), np.maximum(here - debt, 0)
    points = np.full(states, max(0, int(np.searchsorted(path.loss, eps, side="right")) - 1))
    points[: debt + 1] = 0  # nothing left: nobody leaves
    for _ in range(ROUNDS):
        value = _value(path.loss[points], path.latency[points], eps * debt, above, below)
        price = value[below] - value
        better = (path.latency + price[:, None] * path.loss).argmin(axis=1)
        better[: debt + 1] = 0
        if (better == points).all():
            break
        points = better
    position = np.interp(-_logs(price[debt:]), -_logs(PRICES), np.arange(1.0, len(PRICES) + 1.0))
    position[0] = 0.0
    return np.asarray(np.maximum.accumulate(position))


def _logs(price: np.ndarray) -> np.ndarray:
    """Logarithms of prices; those between the last two of PRICES count as nearer to the last the lower they are."""
    return np.asarray(np.log(np.maximum(price, PRICES[-2] / 100.0)))


def _value(loss: np.ndarray, latency: np.ndarray, up: float, above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Relative value v of every level under a policy, float64 [levels]; the highest level's is 0.

    It solves 0 = latency - average + up (v[above] - v) + loss (v[below] - v).
    """
    states = len(loss)
    rows = np.arange(states)
    system = np.zeros((states, states))
    np.add.at(system, (rows, above), up)
    np.add.at(system, (rows, below), loss)
    system[rows, rows] -= up + loss
    system[:, -1] = -1.0  # in place of the highest level's value, which is 0: the average
    solved = np.linalg.solve(system, -latency)
    return np.append(solved[:-1], 0.0)
