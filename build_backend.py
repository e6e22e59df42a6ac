"""How exeunt is built: by hatchling, with one thing added, where the distribution exeunt-client comes from.

| built from                  | requires                                  |
|-----------------------------|-------------------------------------------|
| a checkout                  | exeunt-client from the folder client/     |
| a checkout, editable        | nothing: client/ is on the path by itself |
| an sdist, or EXEUNT_RELEASE | exeunt-client of the same version         |
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hatchling import build as hatch
from hatchling.build import build_wheel
from hatchling.metadata.plugin.interface import MetadataHookInterface

__all__ = ["build_editable", "build_sdist", "build_wheel"]

EDITABLE = "EXEUNT_EDITABLE"
RELEASE = "EXEUNT_RELEASE"


def build_editable(*args: Any, **options: Any) -> str:
    """PEP 660: the wheel of an editable install."""
    with _variable(EDITABLE):
        return hatch.build_editable(*args, **options)


def build_sdist(*args: Any, **options: Any) -> str:
    """PEP 517: the source distribution; its metadata is what wheels made from it will say."""
    with _variable(RELEASE):
        return hatch.build_sdist(*args, **options)


@contextmanager
def _variable(name: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


class Dependencies(MetadataHookInterface):
    """Fills in `dependencies`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Name numpy and, unless the install is editable, exeunt-client."""
        metadata["dependencies"] = ["numpy>=1.26"]
        if EDITABLE in os.environ:
            return
        released = RELEASE in os.environ
        source = f"=={metadata['version']}" if released else f" @ {(Path(self.root) / 'client').as_uri()}"
        metadata["dependencies"].append(f"exeunt-client{source}")
