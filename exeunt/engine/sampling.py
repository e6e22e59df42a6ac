"""How many answered rows are finished: a probability that is known at release and falls when feedback falls behind."""

from __future__ import annotations

import math

from exeunt.settings import Settings

HOLD_US = 100_000  # least time between two steps up
STEP_UP = 1.25
BOUND_SHARE = 0.25  # of max_unconfirmed_rows: the backlog up to which every answered row is finished
LEAST_BOUND = 16.0  # rows


class FinishProbability:
    """q of rows answered from now on, from the backlog of answered rows, with hysteresis.

    Down at once: half at the bound, a quarter at 1.5 times the bound, and so on. Up by a quarter, not sooner than
    `hold_us` after the last step, while the backlog is below half the bound.

    Args:
        bound: backlog (rows, each counted 1 / q) up to which every answered row is finished.
        least: q never falls below it; the tuner's step divided by it must stay within 0.2.
        hold_us: least time between two steps up.
    """

    def __init__(self, bound: float, least: float, hold_us: int = HOLD_US) -> None:
        self.bound = bound
        self.least = least
        self.q = 1.0
        self._hold_us = hold_us
        self._changed_us = -hold_us

    @classmethod
    def of(cls, settings: Settings) -> FinishProbability:
        """As a bag's settings say."""
        bound = max(LEAST_BOUND, BOUND_SHARE * settings.max_unconfirmed_rows)
        return cls(bound, settings.least_finish_probability)

    def update(self, backlog: float, now_us: int) -> bool:
        """Hear of the backlog; True if q has changed."""
        before = self.q
        if backlog > self.bound:
            halvings = math.ceil((backlog - self.bound) / (self.bound / 2))
            self.q = min(self.q, max(self.least, 0.5 ** min(halvings, 60)))
        elif backlog < self.bound / 2 and now_us - self._changed_us >= self._hold_us:
            self.q = min(1.0, STEP_UP * self.q)
        if self.q != before:
            self._changed_us = now_us
        return self.q != before
