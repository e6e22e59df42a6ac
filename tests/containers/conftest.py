"""One engine with every image built, and the compose file's project on it, for all of these tests.

They need root, Debian's docker.io, mmdebstrap and iproute2, and some ten minutes; without them they skip. Who works on
them names a folder in $EXEUNT_TEST_ENGINE, where the engine's images are kept from run to run.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.containers import buildkit
from tests.containers.compose import Project, copy_checkout
from tests.containers.engine import Docker, UnavailableError, own_network, running, why_not
from tests.containers.stand_ins import build_stand_ins


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout."""
    return copy_checkout(tmp_path_factory.mktemp("exeunt"))


@pytest.fixture(scope="session")
def docker(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """An engine that has built every target of the Dockerfile, and now reaches nothing outside."""
    if why_not():
        pytest.skip(why_not())
    try:
        with engine_folder() as folder:
            with running(folder) as docker:
                build_stand_ins(docker, tmp_path_factory.mktemp("images"))
                Project(docker, checkout)("--profile", "perf", "build")
                by_buildkit = buildkit.build(docker, checkout)
            with own_network(), running(folder) as docker:
                docker.by_buildkit = by_buildkit
                yield docker
    except UnavailableError as error:
        pytest.skip(f"no docker engine, or nothing to build from: {error}")


@contextmanager
def engine_folder() -> Iterator[Path]:
    """Where the engine keeps its many files: not in pytest's folders, which it looks through later."""
    if path := os.environ.get("EXEUNT_TEST_ENGINE"):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="exeunt-engine-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Place for what the first `export` writes: to train it again for every module would take minutes."""
    return tmp_path_factory.mktemp("exported") / "models"


@pytest.fixture(scope="module")
def project(docker: Docker, checkout: Path, exported: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """The compose file's project, nothing of it started; what a module leaves of it is removed.

    The first module finds its volumes empty; after its `keep_models` others find in the volume `models` what its export
    wrote, so that theirs says so and ends. A module may name more files of the project in COMPOSE_FILES.
    """
    project = Project(docker, checkout, *getattr(request.module, "COMPOSE_FILES", ()), exported=exported)
    project.bring_models()
    yield project
    project("--profile", "*", "down", "-v", "--timeout", "20")
    project.engine.close()
