"""Options that several verbs have, and what their values are read into."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from exeunt.errors import ConfigError

Number = TypeVar("Number", int, float)


def add_bag(parser: argparse.ArgumentParser) -> None:
    """A repository and one of its bags: `args.repository`, `args.bag`, which `exeunt.serving.bags.bag_of` takes."""
    parser.add_argument("repository", type=Path, help="folder that `exeunt export` wrote")
    parser.add_argument("--bag", help="which bag, where the repository holds several")


def add_running_bag(parser: argparse.ArgumentParser) -> None:
    """A bag of a running server, found by its files: `args.name`, `args.state_dir`; see `state_dir_of`."""
    parser.add_argument("name", help="name of the bag")
    parser.add_argument(
        "--state-dir", type=Path, help="the server's (default: $EXEUNT_STATE_DIR or ~/.local/state/exeunt)"
    )


def state_dir_of(args: argparse.Namespace) -> Path:
    """The folder of --state-dir, else the user's."""
    from exeunt.hosting.state_files import default_state_dir

    return args.state_dir or default_state_dir()


def numbers(option: str, text: str, kind: Callable[[str], Number], allowed: str) -> tuple[Number, ...]:
    """Numbers with commas between.

    Args:
        option: as it was typed, for the message.
        text: its value.
        kind: int or float.
        allowed: what is, in words.

    Raises:
        ConfigError: something in it is no number of that kind.
    """
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"{option} {text!r}; allowed: {allowed}") from None


def read_inputs(path: Path, rows: int | None = None) -> np.ndarray | dict[str, np.ndarray]:
    """Arrays of an .npy or .npz file, the first `rows` of each.

    Raises:
        ConfigError: no such file, or neither of the two formats.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (ValueError, EOFError) as error:
        raise ConfigError(f"{path}: neither .npy nor .npz: {error}") from None
    if isinstance(loaded, np.ndarray):
        return loaded[:rows]
    with loaded:
        return {name: loaded[name][:rows] for name in loaded.files}


def named_inputs(path: Path, only: Callable[[], str]) -> Mapping[str, np.ndarray]:
    """Public input -> rows, of such a file; `only` gives the input's name for a file with a bare array."""
    loaded = read_inputs(path)
    return loaded if isinstance(loaded, dict) else {only(): loaded}
