"""The backend directory that the pip wheel's Triton loads: its Python backend, its stub, and our backends."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exeunt.errors import ConfigError

INSTALL = "pip install 'exeunt[server]'"
STUB = "triton_python_backend_stub"


@dataclass(frozen=True, slots=True)
class Wheel:
    """Where the nvidia-pytriton wheel keeps Triton.

    Attributes:
        home: folder `pytriton/tritonserver`, with bin/, backends/, python_backend_stubs/.
        libraries: folder of the shared libraries that the wheel brings.
    """

    home: Path
    libraries: Path

    @property
    def binary(self) -> Path:
        """The tritonserver executable."""
        return self.home / "bin" / "tritonserver"

    @property
    def stub(self) -> Path:
        """The process in which the Python backend runs a model, for the running Python."""
        return self.home / "python_backend_stubs" / f"{sys.version_info.major}.{sys.version_info.minor}" / STUB


def find_wheel() -> Wheel:
    """Find the Triton server of the pip wheel without importing it.

    Raises:
        ConfigError: the wheel is not installed, has no stub for this Python, or numpy 2 is installed beside it.
    """
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise ConfigError(f"the Triton server's wheel (nvidia-pytriton) is not installed here: {INSTALL}")
    package = Path(spec.origin).parent
    wheel = Wheel(package / "tritonserver", package.parent / "nvidia_pytriton.libs")
    for needed in (wheel.binary, wheel.stub):
        if not needed.is_file():
            raise ConfigError(f"{needed}: missing; nvidia-pytriton 0.7.0 on x86-64 Linux has it: {INSTALL}")
    if int(np.__version__.split(".")[0]) >= 2:
        # its Python backend was built with pybind11 2.10, which knows numpy 1 only: outputs would be empty, silently
        raise ConfigError(f"numpy {np.__version__} is installed; this Triton server needs numpy < 2: {INSTALL}")
    return wheel


def environment(wheel: Wheel) -> dict[str, str]:
    """Environment variables for tritonserver: its libraries, this Python's, and this virtual environment first.

    Raises:
        ConfigError: a shared library is missing, most often this Python's own libpython.
    """
    current_library_path = os.environ.get("LD_LIBRARY_PATH", "")
    libraries = [
        str(wheel.libraries),
        str(sysconfig.get_config_var("LIBDIR")),
        f"{sys.base_prefix}/lib",
        current_library_path,
    ]
    table = os.environ | {
        "LD_LIBRARY_PATH": ":".join(dict.fromkeys(path for path in libraries if path)),
        # the stub embeds a Python, which finds this virtual environment by looking for itself on PATH
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
    }
    for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        table.setdefault(pool, "1")  # numpy in a dozen stubs must not start a dozen thread pools
    table.setdefault("MALLOC_ARENA_MAX", "2")  # one for every thread would keep what each has ever held: memory creeps
    for binary in (wheel.binary, wheel.stub):
        missing = missing_libraries(binary, table)
        if missing:
            raise ConfigError(
                f"{binary} needs {', '.join(missing)}; for libpython install the shared library of Python "
                f"{sys.version_info.major}.{sys.version_info.minor} (Debian: libpython3.{sys.version_info.minor})"
            )
    return table


def missing_libraries(binary: Path, env: Mapping[str, str]) -> list[str]:
    """Shared libraries that an executable asks for in vain."""
    listing = subprocess.run(["ldd", str(binary)], env=env, capture_output=True, text=True, check=False).stdout
    return [line.split()[0] for line in listing.splitlines() if "not found" in line]


def assemble(folder: Path, wheel: Wheel, extra: dict[str, Path] | None = None) -> Path:
    """Write a backend directory.

    Everything is copied (3 MB): Triton refuses a backend library that a link leads out of the directory to, and
    Python writes its cache beside a `model.py`, which may lie in a folder that others own.

    Args:
        folder: is made; must not exist.
        wheel: where Triton is.
        extra: backend name -> folder with its `model.py`, beside or instead of exeunt's own.

    Returns:
        `folder`.
    """
    cache = shutil.ignore_patterns("__pycache__")
    python = shutil.copytree(wheel.home / "backends" / "python", folder / "python", ignore=cache)
    shutil.copy2(wheel.stub, python / STUB)
    (python / STUB).chmod(0o755)  # some installers drop the executable bit of package data
    for name, source in (own_backends() | (extra or {})).items():
        shutil.copytree(source, folder / name, ignore=cache)
    return folder


def own_backends() -> dict[str, Path]:
    """Our python-based backends, as installed: name -> folder."""
    spec = importlib.util.find_spec("exeunt_backends")  # found, not imported: backends stand above this package
    roots = [] if spec is None else spec.submodule_search_locations or []
    return {model.parent.name: model.parent for root in roots for model in Path(root).glob("*/model.py")}
