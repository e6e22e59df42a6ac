"""Progress bars, the same for every verb."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


def bars(console: Console) -> Progress:
    """Bars with what is done, of how much, and for how long; use in `with`."""
    return Progress(
        TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )


def bar_callback(progress: Progress, prefix: str) -> Callable[[str, int, int], None]:
    """A callback (what, steps done, total) that gives each `what` a bar of its own."""
    tasks: dict[str, TaskID] = {}

    def show(what: str, steps_done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = progress.add_task(f"{prefix}{what}", total=total)
        progress.update(tasks[what], completed=steps_done, total=total)

    return show
