"""Events: what happens to decisions beside votes, by *moment*, so that it can be done again in the same order.

Everything that happens gets the next number, its moment; `Decisions` counts them.

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


class Events:
    """The events since they were last taken."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def note(self, moment: int, event: str, value: Any) -> None:
        """Something happened; arrays in `value` are kept as lists."""
        if isinstance(value, list):
            value = [part.tolist() if isinstance(part, np.ndarray) else part for part in value]
        self._events.append((moment, event, value.tolist() if isinstance(value, np.ndarray) else value))

    def take(self) -> list[Event]:
        """The events since the call before."""
        events, self._events = self._events, []
        return events
