"""Where an export is, for progress bars, and how long each stage took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

Progress = Callable[[str, int, int], None]  # (stage, steps done, total)


@dataclass(slots=True)
class Stages:
    """Tells `progress` where the export is, and keeps the time of each stage.

    Attributes:
        progress: called with (stage, steps done, total).
        seconds: stage -> time from its first report to its last.
    """

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)
    _started: dict[str, float] = field(default_factory=dict)

    def at(self, stage: str, steps_done: int, total: int) -> None:
        """Report that `steps_done` of `total` steps of `stage` are done; 0 starts it."""
        now = time.monotonic()
        self.seconds[stage] = round(now - self._started.setdefault(stage, now), 3)
        self.progress(stage, steps_done, total)
