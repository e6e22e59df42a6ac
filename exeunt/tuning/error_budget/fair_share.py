"""How many rows outside the promise are learnt from: whoever sends them may send any number."""

from __future__ import annotations

import numpy as np

from exeunt.contract import EARLY, LOSSLESS
from exeunt.records.feedback import Feedback

OUTSIDE_SHARE = 0.1  # of the rows learnt from, at most, are outside the promise


class FairShare:
    """Leaves out rows outside the promise that come too often.

    Args:
        window_rows: rows that are learnt from.
    """

    def __init__(self, window_rows: int) -> None:
        self._most = OUTSIDE_SHARE / 2 * window_rows  # that can be saved up: half of the share
        self._room = self._most

    def of(self, feedback: Feedback) -> Feedback:
        """The promised rows, and of those outside the promise as many as there is room for."""
        if feedback.reason.max(initial=0) <= LOSSLESS and not feedback.never.any():  # nearly always
            self._room = min(self._room + OUTSIDE_SHARE / 2 * len(feedback), self._most)
            return feedback
        outside = np.flatnonzero(~(feedback.promised | (feedback.reason == EARLY)))
        room = self._room + OUTSIDE_SHARE / 2 * (len(feedback) - len(outside))
        kept = min(len(outside), int(room))
        self._room = min(room - kept, self._most)
        return feedback if kept == len(outside) else feedback.rows(np.delete(np.arange(len(feedback)), outside[kept:]))
