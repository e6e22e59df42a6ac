"""What servers that were killed leave in /tmp."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exeunt.serving.leftovers import CLOCK_S, abandoned, servers_since_s

NOW_S = time.time()


def leftover_folder(folder: Path, age_s: float, name: str = "python_env_a1B2c3") -> Path:
    """A folder like Triton's, so many seconds old."""
    path = folder / name
    path.mkdir()
    os.utime(path, (NOW_S - age_s, NOW_S - age_s))
    return path


def test_a_folder_is_nobodys_when_no_server_lives(tmp_path: Path) -> None:
    path = leftover_folder(tmp_path, age_s=0.0)
    assert abandoned(tmp_path, []) == [path]


def test_a_folder_older_than_every_living_server_is_nobodys(tmp_path: Path) -> None:
    path = leftover_folder(tmp_path, age_s=100.0)
    assert abandoned(tmp_path, [NOW_S - 50.0, NOW_S - 10.0]) == [path]


@pytest.mark.parametrize("server_age_s", [100.0 + CLOCK_S, 100.0, 100.0 - CLOCK_S / 2])
def test_a_folder_that_a_living_server_may_have_made_stays(tmp_path: Path, server_age_s: float) -> None:
    leftover_folder(tmp_path, age_s=100.0)
    assert abandoned(tmp_path, [NOW_S - server_age_s, NOW_S]) == []


def test_a_folder_with_something_in_it_stays(tmp_path: Path) -> None:
    path = leftover_folder(tmp_path, age_s=100.0)
    (path / "environment").mkdir()
    assert abandoned(tmp_path, []) == []


def test_folders_of_other_names_stay(tmp_path: Path) -> None:
    leftover_folder(tmp_path, age_s=100.0, name="my_python_env")
    assert abandoned(tmp_path, []) == []


def test_a_process_with_the_backend_in_memory_is_a_living_server_and_since_when_is_known(tmp_path: Path) -> None:
    library = tmp_path / "libtriton_python.so"
    library.write_bytes(bytes(4096))
    began_s = time.time()
    code = "import mmap, sys; file = open(sys.argv[1]); held = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)"
    line = [sys.executable, "-c", f"{code}; print('mapped', flush=True); input()", str(library)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "mapped\n"
        assert any(began_s - CLOCK_S < since_s < time.time() + CLOCK_S for since_s in servers_since_s())
        process.communicate("\n")
