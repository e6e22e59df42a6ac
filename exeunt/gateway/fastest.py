"""The shortest time in which the server answered of late: a caller that leaves sooner is refused.

Else the server would work in vain for callers that give up within milliseconds. Pure: time is an argument.
"""

from __future__ import annotations

from collections import deque

REMEMBERED_US = 1_000_000  # older answers say nothing
TRIAL_EVERY_US = 100_000  # one call that seems hopeless is let in nevertheless: others may be quicker
MARGIN = 0.5  # of the quickest answer: the next may be quicker still
_MOST = 256  # answers remembered


class FastestAnswers:
    """The quickest answers of the last second."""

    def __init__(self) -> None:
        self._answers: deque[tuple[int, int, int]] = deque(maxlen=_MOST)  # when, rows, how long it took
        self._tried_us = -TRIAL_EVERY_US

    def note(self, rows: int, took_us: int, now_us: int) -> None:
        """A request of so many rows was answered."""
        self._answers.append((now_us, rows, took_us))

    def least_us(self, rows: int, now_us: int) -> float:
        """Time below which no answer to so many rows can be hoped for; 0 where nothing is known.

        Answers to more rows say nothing about fewer.
        """
        while self._answers and now_us - self._answers[0][0] > REMEMBERED_US:
            self._answers.popleft()
        return MARGIN * min((took_us for _, of_rows, took_us in self._answers if of_rows <= rows), default=0)

    def is_trial(self, now_us: int) -> bool:
        """Whether a call that seems hopeless is to be tried."""
        if now_us - self._tried_us < TRIAL_EVERY_US:
            return False
        self._tried_us = now_us
        return True
