"""One server per mode for all QA cases that do not need one of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exeunt.serving.pip_server import serve
from tests.triton.qa.bag import Served, export_qa_bag


@pytest.fixture(scope="session", params=["ensemble", "engine"])
def qa_repository(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The QA bag, exported."""
    return export_qa_bag(tmp_path_factory.mktemp(f"qa_{request.param}"), request.param)


@pytest.fixture(scope="session")
def served(triton: None, qa_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The QA bag on a running server."""
    with serve(qa_repository, state_dir=tmp_path_factory.mktemp("qa_state")) as server:
        yield Served(qa_repository, server)
