"""The spending plan: how far along the path to be, by what is left of the error budget.

The budget of a class of service is a reserve of losses: it fills by eps with every answer, up to 1 / g, and every loss
takes one. Spent too fast it runs dry, and everybody waits for the full vote until it has recovered; spent too slowly it
overflows, and latency is given away. How to spend it best is a small Markov decision process over the reserve, whose
actions are the points of the path with their expected loss and latency; its average cost is minimised by policy
iteration. The price of a loss falls as the reserve grows.
"""

from __future__ import annotations

import numpy as np

from exeunt.tuning.exit_path import ExitPath

STEPS_PER_LOSS = 8  # resolution of the reserve
ROUNDS = 12


def plan(path: ExitPath, eps: float, most_saved_losses: float) -> np.ndarray:
    """Position on the path by reserve.

    Args:
        path: points with their expected loss and latency.
        eps: promised share of losses; the reserve grows by it per answer.
        most_saved_losses: upper end of the reserve.

    Returns:
        float64 [levels], non-decreasing positions for reserves 0, 1/8, 2/8, ... losses, up to the upper end.
    """
    levels = max(2, round(most_saved_losses * STEPS_PER_LOSS) + 1)
    if eps <= 0.0:
        return np.zeros(levels)
    debt = STEPS_PER_LOSS  # levels below 0 that one loss can lead to
    states = levels + debt
    up = eps * STEPS_PER_LOSS  # rate at which the reserve climbs one level
    here = np.arange(states)
    above, below = np.minimum(here + 1, states - 1), np.maximum(here - STEPS_PER_LOSS, 0)
    points = np.full(states, int(np.searchsorted(path.loss, eps)))
    points = np.minimum(points, len(path.loss) - 1)
    points[: debt + 1] = 0  # no reserve: nobody leaves
    for _ in range(ROUNDS):
        value = _value(path.loss[points], path.latency[points], up, above, below)
        cost = path.latency + (value[below] - value)[:, None] * path.loss
        better = cost.argmin(axis=1)
        better[: debt + 1] = 0
        if (better == points).all():
            break
        points = better
    return np.maximum.accumulate(points[debt:]).astype(np.float64)


def _value(loss: np.ndarray, latency: np.ndarray, up: float, above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Relative value of every level under a policy: 0 = latency - average + up (v[above] - v) + loss (v[below] - v)."""
    states = len(loss)
    rows = np.arange(states)
    system = np.zeros((states, states + 1))
    np.add.at(system, (rows, above), up)
    np.add.at(system, (rows, below), loss)
    system[rows, rows] -= up + loss
    system[:, -1] = -1.0  # the average
    anchored = np.delete(system, states - 1, axis=1)  # the value of the top level is 0
    solved = np.linalg.solve(anchored, -latency)
    return np.append(solved[:-1], 0.0)
