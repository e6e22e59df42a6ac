"""What a server has learnt outlives its container on the volume `state` alone: no store is there to give it back."""

import pytest

from tests.containers.compose import metrics, until
from tests.containers.load import ANSWERED, exported_stream, load

pytestmark = pytest.mark.containers
ROWS = 2000  # enough for exits to open


def thresholds() -> list[float]:
    """Of every exit; 0 where nobody may leave."""
    return [value for name, value in metrics().items() if name.startswith("exeunt_threshold")]


@pytest.fixture(scope="module")
def taught(project):
    """A server without a store whose exits are open."""
    project("up", "-d")
    project.await_healthy("triton")
    project.keep_models()
    assert not any(thresholds())
    with load(exported_stream(project), clients=4) as outcomes:
        until(lambda: outcomes[ANSWERED] >= ROWS and any(thresholds()), 300)
    return project


def test_there_is_no_store(taught):
    assert "EXEUNT_STATE_URL=" in taught.container("triton").attrs["Config"]["Env"]
    assert not [name for name in metrics() if name.startswith("exeunt_store")]


def test_a_restart_keeps_what_was_learnt(taught):
    taught("restart", "triton")
    taught.await_healthy("triton")
    assert any(thresholds())


def test_a_new_container_finds_what_was_learnt(taught):
    former = taught.container("triton").id
    taught("up", "-d", "--force-recreate", "--no-deps", "triton")
    taught.await_healthy("triton")
    assert taught.container("triton").id != former and any(thresholds())


def test_without_the_volume_nothing_is_known(taught):
    taught("down")
    taught.engine.volumes.get("exeunt_state").remove()
    taught("up", "-d")
    taught.await_healthy("triton")
    assert not any(thresholds())
