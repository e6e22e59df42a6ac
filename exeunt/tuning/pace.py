"""The pace: spend no more than 1.3 eps in any W answers in a row, W = 10 / eps (1000 at 1 %).

A reserve that has filled up in good times may be spent all at once in bad ones. The promise allows that; users still
notice. So while the losses found in the last W answers come near 13, rows leave only where it costs very little: not
nobody, which would be the dearest way to wait until old losses are W answers away. The promise does not depend on it.
"""

from __future__ import annotations

from collections import deque

WINDOW_LOSSES = 10.0  # expected in a window at the promised share
MOST_LOSSES = 13.0  # wanted at most
SHARES = (0.02, 0.1, 0.3)  # of eps that may be spent while fewer than 1, 2, 3 losses are left until then


class Pace:
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
            heaviest: highest 1 / q of late; a window holds more losses where one weighs more.
        """
        window_rows = WINDOW_LOSSES * heaviest / eps if eps > 0.0 else float("inf")
        while self._found and self._found[0][0] <= answered_rows - window_rows:
            self._losses -= self._found.popleft()[1]
        left = MOST_LOSSES - self._losses / heaviest
        if not self._found or left >= len(SHARES):
            return float("inf")
        return eps * SHARES[max(0, int(left))]
