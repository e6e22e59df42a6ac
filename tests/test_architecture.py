"""The code's rooms: who imports whom, and the page that shows it."""

import runpy
import subprocess
import sys

import pytest

from tests.places import ROOT

pytest.importorskip("importlinter", reason="pip install 'exeunt[dev]'")


def test_every_import_runs_downwards():
    code = "import sys; from importlinter.cli import lint_imports_command as run; sys.argv[1:] = ['--no-cache']; run()"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


def test_the_picture_of_the_rooms_is_the_codes():
    assert (ROOT / "docs/architecture.md").read_text(encoding="utf-8") == runpy.run_path(str(ROOT / "docs/rooms.py"))[
        "page"
    ]()
