"""Events: what happens to decisions beside votes, by *moment*, so that it can be done again in the same order.

Everything that happens gets the next number, its moment; `Decisions` counts them, `Changes` are among them.

complete       the votes of an exit are there                    -> its moment is in the rows' `order`
expire         a deadline passed: the best vote leaves           -> event (moment, "expired", [ticket, rows])
fail           full votes of some rows will not come             -> event (moment, "failed", [ticket, rows])
toss_answered  answered rows are tossed: which of them finish    -> event (moment, "tossed", [ticket, q])
give_up        the server stops                                  -> event (moment, "given_up", [ticket])
retune, adopt  one of the tuner's jobs                           -> events "taken", "adopted"
set_heads      ramps have learnt something new                   -> event "heads"
set_...        somebody changes a setting                        -> events named like the setting
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from exeunt.deciding.heads import Heads
from exeunt.records.decided import Event
from exeunt.records.feedback import Feedback

if TYPE_CHECKING:
    from exeunt.deciding.decisions import Decisions


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


class Changes:
    """What is changed from now on in how decisions are made: by an operator, the runner's load, a job, or ramps."""

    def __init__(self, decisions: Decisions) -> None:
        self._decisions = decisions

    def retune(self) -> Callable[[], Any] | None:
        """The tuner's job if one is due, to be run beside serving; its outcome goes to `adopt`."""
        if (job := self._decisions.tuner.retune()) is not None:
            self._decisions.next_moment("taken", None)
        return job

    def adopt(self, outcome: Any) -> None:
        """Give a job's outcome to the tuner."""
        self._decisions.next_moment("adopted")
        self._decisions.tuner.adopt(outcome)

    def set_finish_probability(self, q: float) -> None:
        """Rows answered from now on are finished with probability q, above 0."""
        self._decisions.next_moment("finish_probability", q)
        self._decisions.coins.finish_probability = q

    def set_late_tossing(self, late: bool) -> None:
        """Whether rows answered from now on are tossed by `toss_answered`, not when they are answered."""
        self._decisions.next_moment("late_thinning", late)
        self._decisions.coins.late = late

    def set_feedback(self, feedback: str | float) -> None:
        """Another setting `feedback` from now on."""
        self._decisions.next_moment("feedback", feedback)
        self._decisions.coins.feedback = feedback

    def set_exits_off(self, exits_off: np.ndarray) -> None:
        """Nobody leaves at these exits (bool [exits]) from now on."""
        self._decisions.next_moment("exits_off", np.flatnonzero(exits_off))
        self._decisions.exits_off = exits_off

    def set_class_losses(self, class_losses: tuple[float, ...]) -> None:
        """Other promised losses from now on, by class of service."""
        self._decisions.next_moment("class_losses", list(class_losses))
        self._decisions.tuner.set_class_losses(class_losses)

    def set_heads(self, heads: Heads, changed: np.ndarray, votes: Feedback) -> None:
        """Other heads for tickets admitted from now on.

        Args:
            heads: of a higher version than those before.
            changed: bool [exits], exits that vote by a head that is another now.
            votes: what the exits, with these heads, say of some finished rows; may be empty.
        """
        self._decisions.next_moment(
            "heads", [heads.version, np.flatnonzero(changed), votes.labels, votes.confidence, votes.q]
        )
        self._decisions.in_use.change(heads, changed)
        self._decisions.tuner.ramps_changed(heads.version, changed, votes)
