"""What the engine asks of whoever it works for."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from exeunt.engine.segments import Votes
from exeunt.errors import ExeuntError


class EngineHost(Protocol):
    """What the engine calls; it holds the controller and its lock."""

    def arrived(self, ticket_id: int, probabilities: Votes, rows: np.ndarray | None = None) -> None:
        """All votes of an exit are there."""

    def failed(self, ticket_id: int, error: ExeuntError, rows: np.ndarray | None = None) -> None:
        """A ticket cannot go on, or those of its rows (indices)."""

    def now_us(self) -> int:
        """Monotonic time."""

    def set_finish_probability(self, q: float) -> None:
        """The load allows answered rows to be finished with probability q, from now on."""

    def toss_probability(self, load_q: float) -> float:
        """With which probability answered rows are finished where the load allows `load_q`."""

    def use_late_tossing(self) -> None:
        """Answered rows are tossed by `toss_answered`, when they are about to run."""

    def toss_answered(self, ticket_id: int, load_q: float) -> np.ndarray:
        """Toss the answered rows of a ticket; those (indices) that need not run."""
