"""Servers on one state volume take a folder of their own each."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from exeunt.errors import ConfigError
from exeunt.serving.own_state import own_subfolder

HOLD = """
import sys
from contextlib import ExitStack
from pathlib import Path
from exeunt.serving.own_state import own_subfolder
stack = ExitStack()
print(own_subfolder(Path(sys.argv[1]), stack), flush=True)
sys.stdin.read()
"""


def test_who_comes_takes_the_first_folder_that_nobody_holds(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stacks = []
        for _ in range(3):
            stacks.append(stack.enter_context(ExitStack()))
            own_subfolder(tmp_path, stacks[-1])
        stacks[1].close()
        assert own_subfolder(tmp_path, stack) == tmp_path / "replica-1"
        assert own_subfolder(tmp_path, stack) == tmp_path / "replica-3"


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    line = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == str(tmp_path / "replica-0")
        with ExitStack() as stack:
            assert own_subfolder(tmp_path, stack) == tmp_path / "replica-1"
        process.kill()
        process.wait()
    with ExitStack() as stack:
        assert own_subfolder(tmp_path, stack) == tmp_path / "replica-0"


def test_a_file_in_the_volumes_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with ExitStack() as stack, pytest.raises(ConfigError, match="replica-0: state_dir cannot be written"):
        own_subfolder(tmp_path / "state", stack)
