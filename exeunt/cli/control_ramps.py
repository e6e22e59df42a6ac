"""`exeunt control`: ramps that learn in service are frozen, rolled back, exported, applied."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from exeunt.errors import ConfigError

if TYPE_CHECKING:
    from exeunt.hosting.control import Control
    from exeunt.hosting.status import Status

COMMANDS = ("freeze", "learn", "previous", "exported")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to the verb."""
    parser.add_argument(
        "--ramps",
        choices=COMMANDS,
        help="of ramps that learn in service: freeze them, let them learn again, take back the heads before those in "
        "use, or those of the export (with freeze or learn given before, that stays)",
    )
    parser.add_argument("--export-ramps", type=Path, metavar="FILE", help="write the heads in use: heads only, no rows")
    parser.add_argument("--apply-ramps", type=Path, metavar="FILE", help="use the heads that another server exported")


def changed(args: argparse.Namespace, control: Control, status: Status, state_dir: Path) -> Control:
    """The control with what the options ask of ramps; files of heads are read and written.

    Raises:
        ConfigError: ramps do not learn there, or a file of heads is missing, damaged or of another bag.
    """
    if not (args.ramps or args.export_ramps or args.apply_ramps):
        return control
    if "ramps_version" not in status.metrics:
        raise ConfigError(
            f"{status.bag}: its ramps do not learn in service; export the bag with learn_ramps = true in [exit]"
        )
    if args.ramps in ("previous", "exported") and args.apply_ramps:
        raise ConfigError(f"--ramps {args.ramps} and --apply-ramps both name heads; allowed: one of them")
    if args.export_ramps:
        _export(args.export_ramps, status, state_dir)
    if args.ramps in ("freeze", "learn"):
        control = dataclasses.replace(control, ramps_frozen=args.ramps == "freeze")
    if args.ramps in ("previous", "exported"):
        control = dataclasses.replace(control, ramps=args.ramps, ramps_number=control.ramps_number + 1)
    if args.apply_ramps:
        _bring(args.apply_ramps, status, state_dir)
        control = dataclasses.replace(control, ramps="apply", ramps_number=control.ramps_number + 1)
    return control


def _export(path: Path, status: Status, state_dir: Path) -> None:
    from exeunt.array_files import write_private
    from exeunt.hosting.ramp_learning import HEADS_SUFFIX
    from exeunt.learning.files import read_arrays

    heads_path = state_dir / f"{status.content_hash}{HEADS_SUFFIX}"
    if not heads_path.exists():
        raise ConfigError(f"{status.bag}: no head has changed yet, so there is nothing to export")
    head, arrays = read_arrays(heads_path, "file of heads")
    table = {name: array for name, array in arrays.items() if name.startswith("heads.")}
    try:
        write_private(path, head | {"previous_version": None, "command": 0}, table)
    except OSError as error:
        raise ConfigError(f"--export-ramps {path}: cannot be written: {error}") from None


def _bring(path: Path, status: Status, state_dir: Path) -> None:
    """Put heads where the server looks for them; it checks them again."""
    from exeunt.array_files import write_private
    from exeunt.hosting.ramp_learning import APPLY_SUFFIX
    from exeunt.learning.files import read_arrays

    head, arrays = read_arrays(path, "file of heads")
    if head.get("content_hash") != status.content_hash:
        raise ConfigError(
            f"--apply-ramps {path}: heads of bag {head.get('bag')!r} {head.get('content_hash')}, {status.bag!r} is "
            f"{status.content_hash}; allowed: heads of the very same export"
        )
    try:
        write_private(state_dir / f"{status.content_hash}{APPLY_SUFFIX}", head, arrays)
    except OSError as error:
        raise ConfigError(f"{state_dir}: cannot be written: {error}") from None
