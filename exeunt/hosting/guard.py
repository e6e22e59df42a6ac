"""The guard of background threads: whatever one step of them raises is logged and counted, and the thread goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


class Guard:
    """Runs steps of background threads.

    Args:
        say: takes one line for the operator; the module's logger if None.

    Attributes:
        faults: thread's name -> errors survived since start.
    """

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self.faults: dict[str, float] = {}
        self._say = say or log.error
        self._logged_lines: set[str] = set()

    def run(self, name: str, step: Callable[[], object]) -> bool:
        """Run one step.

        Args:
            name: of the thread, for log and metric.
            step: may raise anything.

        Returns:
            True if it raised nothing.
        """
        try:
            step()
        except Exception as error:  # an edge: a thread that dies takes its duty with it, unseen
            self.survived(name, error)
            return False
        return True

    def survived(self, name: str, error: Exception) -> None:
        """Count an error that was caught elsewhere, and log it unless that has been done."""
        self.faults[name] = self.faults.get(name, 0.0) + 1.0
        line = f"{name} failed and goes on: {error!r}"
        if line not in self._logged_lines and len(self._logged_lines) < 1000:
            self._logged_lines.add(line)
            self._say(line)
