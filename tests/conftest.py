"""Fixtures that start the real Triton server; each is started once a session, since a start costs seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from exeunt.errors import ConfigError
from exeunt.serving.pip_server import Server, serve
from tests.serving.repository import tiny_repository

# the same examples on every machine, however slow it is; a hunt is a change of seed
settings.register_profile("seeded", derandomize=True, deadline=None)
settings.load_profile("seeded")


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
    """The repository of tests/serving/repository.py."""
    return tiny_repository(tmp_path_factory.mktemp("hand_made"))


@pytest.fixture(scope="session")
def hand_made_server(triton: None, hand_made: Path) -> Iterator[Server]:
    """A server over `hand_made`."""
    with serve(hand_made) as server:
        yield server


@pytest.fixture(scope="session")
def tiny_exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository of a tiny bag of two members in ensemble mode, exported once."""
    pytest.importorskip("onnxscript", reason="pip install 'exeunt[export]'")
    from exeunt_export.export_bag import export_bag
    from tests.export.tiny import tiny_bag

    folder = tmp_path_factory.mktemp("tiny")
    options = 'tuner = "static"\ntuner_options = { thresholds = [1.0] }\nlossless = false\nshadow_share = 0.0'
    export_bag(tiny_bag(folder, members=2, exit_table=options), folder / "repository")
    return folder / "repository"


@pytest.fixture(scope="session")
def tiny_server(triton: None, tiny_exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of `tiny_exported`: every answer leaves at exit 0 unless a control file says otherwise."""
    with serve(tiny_exported, state_dir=tmp_path_factory.mktemp("tiny_state")) as server:
        yield server
