"""Moments: everything that happens to decisions gets the next number, so that it can be done again in the same order.

complete   the votes of an exit are there                    -> its moment is in the rows' `order`
expire     a deadline passed: the best vote leaves           -> event (moment, "expired", [ticket, rows])
fail       full votes of some rows will not come             -> event (moment, "failed", [ticket, rows])
thin       answered rows are tossed: which of them finish    -> event (moment, "tossed", [ticket, q])
give_up    the server stops                                  -> event (moment, "given_up", [ticket])
retune, adopt    one of the tuner's jobs                     -> events "taken", "adopted"
set_heads        ramps have learnt something new             -> event "heads"
set_...          somebody changes a setting                  -> events named like the setting
"""

from __future__ import annotations

from typing import Any

import numpy as np

from exeunt.records.decided import Event


class Moments:
    """Counts moments from 0, and keeps the events since they were last taken."""

    def __init__(self) -> None:
        self._next = 0
        self._events: list[Event] = []

    def next(self, event: str | None = None, value: Any = None, recorded: bool = False) -> int:
        """The next moment; its event is written down where somebody records."""
        moment = self._next
        self._next += 1
        if event is not None and recorded:
            if isinstance(value, list):
                value = [part.tolist() if isinstance(part, np.ndarray) else part for part in value]
            self._events.append((moment, event, value.tolist() if isinstance(value, np.ndarray) else value))
        return moment

    def take(self) -> list[Event]:
        """The events since the call before."""
        events, self._events = self._events, []
        return events
