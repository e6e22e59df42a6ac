"""Lean: whether tickets take the gear with the least work per answer, by how many callers there are for each worker.

While workers are idle, the schedule with the least latency is best: members run side by side, and an exit votes with
what has come by then. Once every worker has a request of its own, nothing runs side by side any more; then the least
work is also the least latency. Above capacity most rows leave because the missing votes cannot change the label, and
that needs members that have run to their end (docs/engine.md, "Gears").

The choice has hysteresis. Tickets become lean when requests wait and every worker has one; they stop being lean when
half of the workers have none. After a change some tickets pass before the next.

The promise is not touched: a row's exit is one of the manifest's, whatever the gear, and all are booked in one account.
"""

from __future__ import annotations

BACK_FROM = 0.5  # unanswered requests per worker, or one
LEAST_TICKETS = 8  # between two changes


class LeanChoice:
    """Says for every ticket of a bag with a lean gear whether it is to be lean.

    Attributes:
        lean: the gear in use.
        workers: runs at a time; set by the host before the first request.
        changes: how often the gear has changed.
    """

    def __init__(self) -> None:
        self.lean = False
        self.workers = 1
        self.changes = 0
        self._since = LEAST_TICKETS

    def choose(self, unanswered: int) -> bool:
        """Whether a ticket that is admitted now is lean.

        Args:
            unanswered: requests that wait or are being worked on, this ticket's included.
        """
        self._since += 1
        calm = unanswered <= max(1.0, BACK_FROM * self.workers)
        if self._since > LEAST_TICKETS and (calm if self.lean else unanswered > self.workers):
            self.lean = not self.lean
            self.changes += 1
            self._since = 1
        return self.lean
