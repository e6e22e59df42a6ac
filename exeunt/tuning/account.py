"""What others may do with the account of a class of service: read it, and move losses in and out."""

from __future__ import annotations

from typing import Protocol


class Account(Protocol):
    """The account of one class of service, in losses.

    Attributes:
        reserve: losses that may still happen; negative = debt.
        unconfirmed: early answers that await their full vote, each counted 1 / q.
    """

    reserve: float
    unconfirmed: float

    @property
    def capacity(self) -> float:
        """Most that can be saved up."""

    def hand_over(self, losses: float) -> None:
        """Losses came to the account (> 0) or were taken from it (< 0)."""
