"""Progress of long work: bars on a terminal, lines in a log as things happen."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

Show = Callable[[str, int, int], None]  # (stage, steps done, total)
_EVERY_S = 10.0  # at least between two lines of one stage


@contextmanager
def progress() -> Iterator[Show]:
    """What shows progress on standard error."""
    if not sys.stderr.isatty():
        yield Lines(sys.stderr, time.monotonic)
        return
    from rich.console import Console

    from exeunt.measuring.progress import bar_callback, bars

    with bars(Console(stderr=True)) as running:
        yield bar_callback(running, "")


class Lines:
    """A line where a stage starts and ends, and now and then between; written at once."""

    def __init__(self, out: TextIO, clock: Callable[[], float]) -> None:
        self._out, self._clock = out, clock
        self._started: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def __call__(self, stage: str, steps_done: int, total: int) -> None:
        """Show that `steps_done` of `total` steps of a stage are done."""
        now = self._clock()
        new = stage not in self._started
        started = self._started.setdefault(stage, now)
        if not (new or steps_done >= total or now - self._last[stage] >= _EVERY_S):
            return
        self._last[stage] = now
        print(f"{stage}: {steps_done}/{total}, {now - started:.0f} s", file=self._out, flush=True)
