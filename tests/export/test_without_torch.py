"""What an installation without torch can do, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.export.tiny import tiny_bag

ROOT = Path(__file__).parents[2]


def python(code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)


def test_an_export_of_onnx_members_imports_no_torch(tmp_path: Path) -> None:
    code = """
import sys
from exeunt.cli.main import main
assert main(["export", sys.argv[1], "-o", sys.argv[2]]) == 0
assert "torch" not in sys.modules
"""
    ended = python(code, tiny_bag(tmp_path, mode="engine", members=2), tmp_path / "repository")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "repository/tiny_exit/1/manifest.json").exists()


def test_torch_modules_without_torch_are_refused_with_the_extra() -> None:
    code = """
import sys
sys.modules["torch"] = None  # importing it now fails
import exeunt_export.torch_modules
"""
    ended = python(code)
    assert ended.stderr.splitlines()[-1].endswith("pip install 'exeunt[torch]'")


def test_the_digits_bag_of_the_demo_imports_no_torch(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from rich.console import Console
from exeunt.demo.prepare import prepare
prepare(Path(sys.argv[1]), 0, Console(), ("engine",))
assert "torch" not in sys.modules
"""
    ended = python(code, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "model_repository/digits_exit/1/manifest.json").exists()
