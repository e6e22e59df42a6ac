"""The spending plan: how far along the path to be, by what is left of the error budget; and what holds it back.

The reserve of a class of service fills by eps with every answer, up to 1 / g, and every loss takes one from it. Spent
too fast it runs dry, and everybody waits for the full vote until it has recovered; spent too slowly it overflows, and
latency is given away. How to spend it best is a small Markov decision process over the reserve, whose actions are the
points of the path with their expected loss and latency. Policy iteration minimises its average latency; the price of a
loss, which says where on the path to be, is what one loss less in the reserve costs. It falls as the reserve grows.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from exeunt.tuning.error_budget.exit_path import PRICES, ExitPath

LEVELS_PER_LOSS = 8  # resolution of the reserve
MOST_LEVELS = 256
MOST_RATE = 20.0  # the reserve is never spent faster than this many times eps
ROUNDS = 12  # policy iteration ends after 3 to 6
ALWAYS_LATE = 0.25  # losses that the plan does not mind: a few rows always await their full vote
RISK_MEMORY = 1 / 64  # weight of the newest row that leaves in the mean risk of those that do
LEAST_WINDOW_ROWS = 1000.0  # of the window W of the loss-rate limit
EXPECTED = 10.0  # losses expected in a window at the promised share, in the limit's unit: one loss, or more
MOST_UNITS = 13.0  # losses in a window, in the same unit: 1.3 eps W
LIMITED_SHARES = (0.02, 0.1, 0.3)  # of eps that may be spent while fewer than 1, 2, 3 units are left until then


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
    most = int(np.searchsorted(path.loss, MOST_RATE * eps, side="right"))
    loss, latency = path.loss[:most], path.latency[:most]
    points = np.full(states, max(0, int(np.searchsorted(loss, eps, side="right")) - 1))
    points[: debt + 1] = 0  # nothing left: nobody leaves
    for _ in range(ROUNDS):
        price = _price(loss[points], latency[points], eps * debt, debt)
        better = (latency + price[:, None] * loss).argmin(axis=1)
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


def between(values: np.ndarray, place: float) -> float:
    """Linear interpolation at a place in an array; its ends beyond them. Ten times faster than np.interp for one."""
    below = min(max(int(place), 0), len(values) - 1)
    above = min(below + 1, len(values) - 1)
    share = min(max(place - below, 0.0), 1.0)
    return float(values[below] + share * (values[above] - values[below]))


class LikelyLost:
    """What early rows that await their full vote have likely lost, by the risk of those that left of late.

    Args:
        classes: number of classes of service.
    """

    def __init__(self, classes: int) -> None:
        self._mean_risk = [0.0] * classes

    def left(self, risk: np.ndarray, service_class: np.ndarray) -> None:
        """Rows left early; risk float64 [rows], class of service int16 [rows]."""
        for number, row_risk in zip(service_class.tolist(), risk.tolist(), strict=True):
            self._mean_risk[number] += RISK_MEMORY * (row_risk - self._mean_risk[number])

    def losses(self, number: int, unconfirmed: float) -> float:
        """Likely losses of a class of which so many rows await their full vote, each counted 1 / q."""
        return max(0.0, unconfirmed * self._mean_risk[number] - ALWAYS_LATE)


class LossRateLimit:
    """The loss-rate limit of one class of service: aim at no more than 1.3 eps in any W answers in a row.

    W is 1000 where eps is 1 % or more, else 10 / eps. A reserve that has filled up in good times may be spent all at
    once in bad ones. The promise allows that; users still notice. So while the losses found in the last W answers come
    near 1.3 eps W, rows leave only where it costs very little. They still leave: to hold everybody until the old losses
    are W answers away would cost most latency. The promise does not need this limit.
    """

    def __init__(self) -> None:
        self._found: deque[tuple[int, float]] = deque()  # (answers until then, losses)
        self._losses = 0.0

    def lost(self, answered_rows: int, weight: float) -> None:
        """Losses were found when `answered_rows` promised rows had been answered; `weight` is their summed 1 / q."""
        self._found.append((answered_rows, weight))
        self._losses += weight

    def most_loss(self, answered_rows: int, eps: float, heaviest: float) -> float:
        """Highest share of losses to aim at now; infinity while there is no hurry.

        Args:
            answered_rows: promised rows answered so far.
            eps: promised share of losses.
            heaviest: highest 1 / q of late; a window is longer where one seen loss weighs more.
        """
        if eps <= 0.0 or not self._found:
            return float("inf")
        unit = max(heaviest, eps * LEAST_WINDOW_ROWS / EXPECTED)
        first_row = answered_rows - EXPECTED * unit / eps
        while self._found and self._found[0][0] <= first_row:
            self._losses -= self._found.popleft()[1]
        left = MOST_UNITS - self._losses / unit if self._found else MOST_UNITS
        return eps * LIMITED_SHARES[max(0, int(left))] if left < len(LIMITED_SHARES) else float("inf")
