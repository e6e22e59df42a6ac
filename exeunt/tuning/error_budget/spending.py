"""The spending plan: how far along the path to be, by what is left of the error budget.

The reserve of a class of service fills by eps with every answer, up to 1 / g, and every loss takes one from it; where
feedback is sampled few of them are seen, and each takes 1 / q. Spent too fast it runs dry, and everybody waits for the
full vote until it has recovered; spent too slowly it overflows, and latency is given away. How to spend it best is a
small Markov decision process over the reserve, whose actions are the points of the path with their expected loss and
latency. Policy iteration minimises its average latency; the price of a loss, which says where on the path to be, is
what one loss less in the reserve costs. It falls as the reserve grows.
"""

from __future__ import annotations

import numpy as np

from exeunt.tuning.error_budget.rule import PRICES, ExitPath

LEVELS_PER_LOSS = 8  # resolution of the reserve
MOST_LEVELS = 256
MOST_RATE = 20.0  # the reserve is never spent faster than this many times eps
ROUNDS = 12  # policy iteration ends after 3 to 6


def plan(path: ExitPath, eps: float, capacity: float, weight: float = 1.0) -> np.ndarray:
    """Position on the path by reserve.

    Args:
        path: points with their expected loss and latency.
        eps: promised share of losses; the reserve grows by it per answer.
        capacity: upper end of the reserve, in losses.
        weight: what one seen loss takes from the reserve: 1 / q where a share q of the losses is seen.

    Returns:
        float64 [levels], non-decreasing positions for reserves from 0 (position 0) to the capacity, evenly spaced.
    """
    seen = capacity / weight  # losses that may be seen; from here on they are the unit of the reserve
    debt = max(1, min(LEVELS_PER_LOSS, int(MOST_LEVELS / (seen + 1.0))))  # levels that one takes
    levels = max(2, round(seen * debt) + 1)
    if eps <= 0.0 or path.loss[-1] <= 0.0:
        return np.append(0.0, np.full(levels - 1, 0.0 if eps <= 0.0 else len(PRICES)))
    states = levels + debt  # the first `debt` of them are below 0
    most = int(np.searchsorted(path.loss, MOST_RATE * eps, side="right"))
    points = np.full(states, max(0, int(np.searchsorted(path.loss[:most], eps, side="right")) - 1))
    loss, latency = path.loss[:most] / weight, path.latency[:most]
    points[: debt + 1] = 0  # nothing left: nobody leaves
    for _ in range(ROUNDS):
        price = _price(loss[points], latency[points], eps / weight * debt, debt)
        better = (latency + price[:, None] * loss).argmin(axis=1)
        better[: debt + 1] = 0
        if (better == points).all():
            break
        points = better
    position = np.interp(-_logs(price[debt:] / weight), -_logs(PRICES), np.arange(1.0, len(PRICES) + 1.0))
    position[0] = 0.0
    return np.asarray(np.maximum.accumulate(position))


def _logs(price: np.ndarray) -> np.ndarray:
    """Logarithms of prices; those between the last two of PRICES count as nearer to the last the lower they are."""
    return np.asarray(np.log(np.maximum(price, PRICES[-2] / 100.0)))


def _price(loss: np.ndarray, latency: np.ndarray, up: float, debt: int) -> np.ndarray:
    """What a loss costs at every level under a policy; float64 [levels].

    The reserve climbs level by level (at rate `up`) and falls by `debt` levels (at rate `loss`). So the time and the
    latency that it takes from one level to the next follow from those of the levels below, by sums of positive terms.

    Args:
        loss: float64 [levels], 0 on the first `debt` + 1.
        latency: float64 [levels].
        up: levels climbed per answer.
        debt: levels that a loss takes.
    """
    times: list[float] = []
    spent: list[float] = []
    for level, (rate, cost) in enumerate(zip(loss.tolist(), latency.tolist(), strict=True)):
        again = slice(max(0, level - debt), level)
        times.append((1.0 + rate * sum(times[again])) / up)
        spent.append((cost + rate * sum(spent[again])) / up)
    average = spent[-1] / times[-1]  # at the top, a cycle from the highest level back to it
    extra = np.append(0.0, np.cumsum(np.array(spent) - average * np.array(times)))
    levels = np.arange(len(loss))
    return np.asarray(extra[levels] - extra[np.maximum(levels - debt, 0)])
