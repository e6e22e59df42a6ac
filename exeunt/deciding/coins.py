"""Coins: which answered rows run on to the full vote, which becomes feedback; each has a toss of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from exeunt.deciding.batch import Batch
from exeunt.settings import Settings

Toss = Callable[[Batch, np.ndarray, float], tuple[np.ndarray | float, np.ndarray] | None]
"""(batch, rows, q wanted) -> (q of the rows, bool [rows]: which finish); None where all finish with q = 1."""


class Coins:
    """When answered rows are tossed, and with which probability (q).

    Args:
        settings: `feedback` and `least_finish_probability` are used here.
        toss: draws which rows finish; see Toss.
        feedback_wanted: gives the share that the tuner's knowledge needs, for `feedback = "auto"`.

    Attributes:
        finish_probability: what the runner's load allows q to be, from now on; 1 = full feedback.
        feedback: see Settings.feedback.
        late: the runner has rows tossed when it is about to run them; else each is tossed when it is answered.
    """

    def __init__(self, settings: Settings, toss: Toss, feedback_wanted: Callable[[], float]) -> None:
        self.finish_probability = 1.0
        self.feedback = settings.feedback
        self.late = False
        self._least = settings.least_finish_probability
        self._toss = toss
        self._wanted = feedback_wanted

    def probability(self, load_q: float) -> float:
        """Probability (q) of rows that are tossed now: what the load allows, and no more than `feedback` asks for.

        It depends on nothing about the rows, and `feedback` never brings it below `least_finish_probability`.
        """
        if self.feedback == "all":
            return load_q
        wanted = self._wanted() if isinstance(self.feedback, str) else self.feedback
        return min(load_q, max(self._least, wanted))

    def at_answer(self) -> float:
        """Probability (q) that rows answered now have at first; those that are tossed later count 1 until then."""
        return 1.0 if self.late else self.probability(self.finish_probability)

    def answered(self, batch: Batch, rows: np.ndarray) -> None:
        """Rows (indices) were answered before the last exit: toss them now, or note that they will be."""
        if self.late:
            batch.waits_for_toss[rows] = batch.tossed_late = True
        else:
            self.toss(batch, rows, self.probability(self.finish_probability))

    def toss(self, batch: Batch, rows: np.ndarray, q: float) -> bool:
        """Toss rows (indices) with probability q; False where all of them finish."""
        coins = self._toss(batch, rows, q)
        if coins is not None:
            batch.toss(rows, *coins)
        return coins is not None
