"""Fixtures that start the real Triton server; each is started once a session, since a start costs seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exeunt.errors import ConfigError
from exeunt.serving.pip_server import Server, serve
from tests.serving_repository import tiny_repository


@pytest.fixture(scope="session")
def triton() -> None:
    """Skips where the pip wheel's Triton is not usable, with the line that installs it."""
    from exeunt.serving.backends import environment, find_wheel

    try:
        environment(find_wheel())
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def hand_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository of tests/serving_repository.py."""
    return tiny_repository(tmp_path_factory.mktemp("hand_made"))


@pytest.fixture(scope="session")
def hand_made_server(triton: None, hand_made: Path) -> Iterator[Server]:
    """A server over `hand_made`."""
    with serve(hand_made) as server:
        yield server
