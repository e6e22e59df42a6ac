"""`exeunt control`: show or change a running server.

Show the state of a running server, change its promised loss or its share of feedback, switch exits off and on. Works
through files in the server's state_dir, not through its inference port.

Example: exeunt control digits --exits-off all    (nobody leaves early until --exits-on all)
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from exeunt.cli import control_ramps
from exeunt.cli.arguments import add_running_bag, numbers, state_dir_of
from exeunt.cli.watch import exit_cells, process_state
from exeunt.errors import ConfigError, ServingError

if TYPE_CHECKING:
    from exeunt.hosting.control import Control
    from exeunt.hosting.status import Status

OBEYED_WITHIN_S = 5.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_running_bag(parser)
    parser.add_argument("--max-loss", type=float, metavar="SHARE", help="promise this loss from now on")
    parser.add_argument(
        "--service-class",
        action="append",
        default=[],
        metavar="NAME=SHARE",
        help="promise this loss to a class of service; may be repeated",
    )
    parser.add_argument(
        "--feedback",
        metavar="ALL|AUTO|SHARE",
        help="which answered inputs are finished so that the tuner learns: all, auto (as many as it needs), or a share",
    )
    parser.add_argument("--exits-off", metavar="EXITS", help="exits to switch off: numbers with commas, or all")
    parser.add_argument("--exits-on", metavar="EXITS", help="exits to switch on again: numbers with commas, or all")
    control_ramps.add_options(parser)
    parser.add_argument("--reset", action="store_true", help="back to the settings of the bag, before other options")
    parser.add_argument("--json", action="store_true", help="print the state as JSON")


def run(args: argparse.Namespace) -> int:
    """Change what is asked for, wait until the server has obeyed, show its state.

    Raises:
        ConfigError: no such server, or a value that is not allowed.
        ServingError: the server did not obey in time.
    """
    from exeunt.hosting.control import control_path, read_control, write_control
    from exeunt.hosting.status import find_status

    state_dir = state_dir_of(args)
    status = find_status(state_dir, args.name)
    path = control_path(state_dir, status.content_hash)
    before = read_control(path)
    after = control_ramps.changed(args, _changed(args, before, status), status, state_dir)
    if after != before:
        began_unix_s = time.time()
        after = dataclasses.replace(after, version=before.version + 1)
        after.check("control", status.exits, status.service_classes)
        write_control(path, after)
        status = _obeyed(state_dir, args.name, after.version, began_unix_s)
    if args.json:
        print(json.dumps(dataclasses.asdict(status), indent=1))
    else:
        _show(status)
    return 0


def _changed(args: argparse.Namespace, before: Control, status: Status) -> Control:
    from exeunt.hosting.control import Control

    without_settings = Control(version=before.version, ramps=before.ramps, ramps_number=before.ramps_number)
    control = without_settings if args.reset else before
    if args.max_loss is not None:
        control = dataclasses.replace(control, max_loss=args.max_loss)
    if args.service_class:
        table = dict(map(_class_loss, args.service_class))
        control = dataclasses.replace(control, service_classes=(control.service_classes or {}) | table)
    if args.feedback is not None:
        control = dataclasses.replace(control, feedback=_feedback(args.feedback))
    early = set(range(status.exits - 1))
    switched_off, switched_on = _exits("--exits-off", args.exits_off, early), _exits("--exits-on", args.exits_on, early)
    if both := switched_off & switched_on:
        raise ConfigError(
            f"--exits-off {args.exits_off} and --exits-on {args.exits_on} both name exit {min(both)}; "
            "allowed: each exit in one of them"
        )
    off = early if control.exits_off == "all" else set(control.exits_off)
    killed = (control.exits_off == "all" or args.exits_off == "all") and args.exits_on is None
    off = (off | switched_off) - switched_on
    return dataclasses.replace(control, exits_off="all" if killed else tuple(sorted(off)))


def _feedback(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text.lower()


def _class_loss(text: str) -> tuple[str, float]:
    name, _, share = text.partition("=")
    try:
        return name, float(share)
    except ValueError:
        raise ConfigError(f"--service-class {text!r}; allowed: NAME=SHARE, such as gold=0.001") from None


def _exits(option: str, text: str | None, early: set[int]) -> set[int]:
    if text is None or text == "all":
        return set() if text is None else early
    named = set(numbers(option, text, int, "numbers with commas between, or all"))
    if strange := named - early:
        last = f"exit {len(early)} is the full ensemble and stays on"
        raise ConfigError(f"{option} holds {min(strange)}; allowed: 0 to {len(early) - 1} ({last})")
    return named


def _obeyed(state_dir: Path, name: str, version: int, began_unix_s: float) -> Status:
    from exeunt.hosting.status import find_status

    until_s = time.monotonic() + OBEYED_WITHIN_S
    while True:
        status = find_status(state_dir, name)
        error = status.control_error if status.written_unix_s > began_unix_s else ""
        if status.control_version >= version and not error:
            return status
        if error:
            raise ServingError(f"{name}: the server refused the change: {error}")
        if time.monotonic() > until_s:
            raise ServingError(
                f"{name}: process {status.pid} has not obeyed within {OBEYED_WITHIN_S:.0f} s; its status is "
                f"{time.time() - status.written_unix_s:.0f} s old, so it may have stopped (the change waits for its "
                f"next start)"
            )
        time.sleep(0.1)


def _show(status: Status) -> None:
    from rich.console import Console
    from rich.markup import escape

    from exeunt.tables import table_of

    console = Console()
    state, colour = process_state(status, time.time())
    up_s = status.written_unix_s - status.started_unix_s
    process = f"process {status.pid}, up {up_s:.0f} s"
    console.print(f"[bold]{escape(status.bag)}[/bold]  [{colour}]{state}[/], {process}, tuner {escape(status.tuner)}")
    losses = status.service_classes.items()
    classes = "".join(f", {escape(name)} {loss:.3%}" for name, loss in losses)
    console.print(f"promised loss {status.max_loss:.3%}{classes}; feedback {status.feedback}")
    console.print(f"control version {status.control_version}")
    console.print(f"tickets in flight {status.tickets_in_flight}, rows waiting {status.waiting_rows}")
    if status.control_error:
        console.print(f"[red]control file not obeyed: {escape(status.control_error)}[/red]")
    columns = ("exit", "offered", "threshold", "answers", "share", "by reason")
    lines = []
    for exit_ in range(status.exits):
        answers = status.answers[exit_].items() if status.answers else ()
        reasons = ", ".join(f"{reason} {rows}" for reason, rows in answers if rows)
        lines.append([*exit_cells(status, exit_), reasons])
    console.print(table_of(columns, lines, left_columns=("by reason",)))
    if status.metrics:
        numbers = (f"{name} {value:g}" for name, value in status.metrics.items() if value is not None)
        console.print("  ".join(numbers), markup=False)
