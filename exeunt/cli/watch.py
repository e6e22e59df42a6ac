"""`exeunt watch`: watch a running server in the terminal.

Show once a second who leaves where, how many, and whether the promise is kept, from the status file in the server's
state_dir. Ctrl-C ends. Into a pipe or a file it prints one view below the other.

Example: exeunt watch digits --looks 60 > minute.txt
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from exeunt.cli.arguments import add_running_bag, state_dir_of
from exeunt.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from exeunt.hosting.status import Status

STALE_S = 5.0  # a running server writes its status each second
BAR_CELLS = 30


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_running_bag(parser)
    parser.add_argument("--every-s", type=float, default=1.0, help="seconds between two looks (1)")
    parser.add_argument("--looks", type=int, default=0, help="end after so many looks (0: never)")


def run(args: argparse.Namespace) -> int:
    """Look and show until Ctrl-C.

    Raises:
        ConfigError: no status of that bag.
    """
    from rich.console import Console
    from rich.live import Live

    if not args.every_s > 0:
        raise ConfigError(f"--every-s {args.every_s:g}; allowed: a number above 0")
    views = _views(args, state_dir_of(args))
    console = Console()
    if not console.is_terminal:  # a pipe or a file: one view below the other, and no later than it was seen
        for status_view in views:
            console.print(status_view)
            console.file.flush()
        return 0
    with Live(next(views), console=console, auto_refresh=False) as live:
        for status_view in views:
            live.update(status_view, refresh=True)
    return 0


def _views(args: argparse.Namespace, state_dir: Path) -> Iterator[RenderableType]:
    """The view at once, then after every pause."""
    from exeunt.hosting.status import find_status

    earlier = find_status(state_dir, args.name)
    yield view(earlier, earlier, time.time())
    looks = 0
    while not args.looks or looks < args.looks:
        time.sleep(args.every_s)
        latest = find_status(state_dir, args.name)
        if latest.pid != earlier.pid or latest.written_unix_s < earlier.written_unix_s:
            earlier = latest  # the server has started anew: its counts too
        yield view(earlier, latest, time.time())
        earlier, looks = latest, looks + 1


def view(earlier: Status, latest: Status, unix_s: float) -> RenderableType:
    """What is shown.

    Args:
        earlier: status at the last look.
        latest: status now, of the same process.
        unix_s: the present time.
    """
    from rich.console import Group
    from rich.text import Text

    from exeunt.tables import table_of

    head = Text.assemble(
        (latest.bag, "bold"), f"  {latest.tuner}, up {latest.written_unix_s - latest.started_unix_s:.0f} s  "
    )
    head.append(*process_state(latest, unix_s))
    passed_s = max(latest.written_unix_s - earlier.written_unix_s, 1e-9)
    fresh = sum(_rows(latest)) - sum(_rows(earlier))
    rate = f"{fresh / passed_s:.1f} rows/s" if passed_s > 1e-6 else "..."
    columns = ("exit", "offered", "threshold", "answers", "share", "")
    bars = ("█" * round(share_of(latest, exit_) * BAR_CELLS) for exit_ in range(latest.exits))
    table = table_of(columns, [[*exit_cells(latest, exit_), bar] for exit_, bar in enumerate(bars)], left_columns=("",))
    load = f"{rate}, {latest.tickets_in_flight} batches in flight, {latest.waiting_rows} rows waiting"
    return Group(head, load, promise(latest), table)


def promise(status: Status) -> str:
    """The promise and how far it is used, in words."""
    counted = status.metrics.get("promised_rows_all") or 0.0  # of all classes of service, as the losses are
    lost = (status.metrics.get("losses") or 0.0) + (status.metrics.get("abandoned_rows") or 0.0)
    message = f"promised loss {status.max_loss:.2%}, so far {lost / counted:.2%}" if counted else "nobody answered yet"
    lambda_ = status.metrics.get("lambda")
    if lambda_ is not None:
        message += f"; lambda {lambda_:.2f}" + (" (nobody leaves early)" if lambda_ >= 1 else "")
    return message


def _rows(status: Status) -> list[int]:
    return [sum(answer.values()) for answer in status.answers]


def process_state(status: Status, unix_s: float) -> tuple[str, str]:
    """Whether the server runs, in words, and the colour to say it in; `unix_s` is the present time."""
    if status.stopped:
        return "stopped", "yellow"
    age_s = unix_s - status.written_unix_s
    return (f"silent for {age_s:.0f} s", "red") if age_s > STALE_S else ("running", "green")


def share_of(status: Status, exit_: int) -> float:
    """Share of the answers that left at an exit, 0..1."""
    rows = _rows(status)
    return rows[exit_] / max(1, sum(rows)) if rows else 0.0


def exit_cells(status: Status, exit_: int) -> list[str]:
    """An exit in a table: its number, whether it is offered, its threshold, answers, and their share."""
    rows = _rows(status)
    last = exit_ == status.exits - 1
    threshold = status.thresholds[exit_] if exit_ < len(status.thresholds) else None
    off = status.exits_off == "all" or exit_ in status.exits_off
    return [
        "full" if last else str(exit_),
        "yes" if status.active[exit_] else "off" if off else "no",
        "" if threshold is None or last else f"{threshold:.3f}",
        str(rows[exit_]) if rows else "0",
        f"{share_of(status, exit_):.1%}",
    ]
