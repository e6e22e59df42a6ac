"""One server of a bag in stages, with a stream model and classes of service, and a gateway in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exeunt.serving.pip_server import Server, serve
from exeunt_export.export_bag import export_bag
from tests.export.tiny import tiny_bag
from tests.gateway.running import Gateway

EXIT = 'tuner = "static"\ntuner_options = { thresholds = [1.0] }\nlossless = false\nshadow_share = 0.0\n'
GOLD = "service_classes = { gold = 0.001 }\n"


@pytest.fixture(scope="session")
def gated_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bag, exported."""
    folder = tmp_path_factory.mktemp("gated")
    export_bag(
        tiny_bag(folder, members=2, schedule="cascade", stream=True, exit_table=EXIT + GOLD), folder / "repository"
    )
    return folder / "repository"


@pytest.fixture(scope="session")
def gated_server(triton: None, gated_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of it."""
    with serve(gated_repository, state_dir=tmp_path_factory.mktemp("gated_state")) as server:
        yield server


@pytest.fixture(scope="session")
def gateway(gated_server: Server, gated_repository: Path) -> Iterator[Gateway]:
    """The gateway in front of it."""
    with Gateway.before(gated_server, gated_repository) as running_gateway:
        yield running_gateway
