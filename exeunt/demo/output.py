"""The demo's output folder: made by the demo, or not touched."""

from __future__ import annotations

from pathlib import Path

from exeunt.errors import ConfigError

MARK = ".made-by-exeunt-demo"


def claim(folder: Path) -> None:
    """Make the folder, or take over one that an earlier demo made.

    Raises:
        ConfigError: it holds a bag or a repository that no demo made; they would be replaced.
    """
    for name in ("model_repository", "bag"):
        if (folder / name).exists() and not (folder / MARK).exists():
            raise ConfigError(
                f"--output {folder}: {folder / name} was not made by a demo and would be replaced; name another folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
