"""Triton's Python backend lies in a volume of the container's own, which can be older than the image."""

from __future__ import annotations

from pathlib import Path

from exeunt.errors import ConfigError

MARK = "python-backend.sha256"  # the Dockerfile writes it twice: beside the backends, and in the backend's folder


def refuse_former_backend(backends: Path) -> None:
    """Raise ConfigError if the Python backend is that of another image than the one that runs.

    Compose gives a new container the nameless volumes of the old one. A backend of another release may not load, or has
    the faults that the new release mends.

    Args:
        backends: the server's backend directory. Where no image has marked it there is nothing to compare.
    """
    mark = backends.parent / MARK
    if mark.is_file() and _text(mark) != _text(backends / "python" / MARK):
        raise ConfigError(
            f"{backends}/python: a volume with another image's Python backend; "
            "`docker compose up --renew-anon-volumes` gives this image's"
        )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
