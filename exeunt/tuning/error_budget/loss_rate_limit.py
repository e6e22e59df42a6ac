"""The loss-rate limit: aim at no more than 1.3 eps in any W answers in a row.

W is 1000 where eps is 1 % or more, else 10 / eps. A reserve that has filled up in good times may be spent all at once
in bad ones. The promise allows that; users still notice. So while the losses found in the last W answers come near
1.3 eps W, rows leave only where it costs very little. They still leave: to hold everybody until the old losses are W
answers away would cost most latency. The promise does not need this limit.
"""

from __future__ import annotations

from collections import deque

LEAST_ROWS = 1000.0  # of a window
EXPECTED = 10.0  # losses expected in a window at the promised share, in the limit's unit: one loss, or more
MOST_UNITS = 13.0  # losses in a window, in the same unit: 1.3 eps W
SHARES = (0.02, 0.1, 0.3)  # of eps that may be spent while fewer than 1, 2, 3 units are left until then


class LossRateLimit:
    """Losses found in the latest answers of one class of service."""

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
        unit = max(heaviest, eps * LEAST_ROWS / EXPECTED)
        first_row = answered_rows - EXPECTED * unit / eps
        while self._found and self._found[0][0] <= first_row:
            self._losses -= self._found.popleft()[1]
        left = MOST_UNITS - self._losses / unit if self._found else MOST_UNITS
        return eps * SHARES[max(0, int(left))] if left < len(SHARES) else float("inf")
