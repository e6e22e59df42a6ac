import pytest

from exeunt.errors import ConfigError
from exeunt.serving.checks.python_backend import MARK, refuse_former_backend
from tests.places import ROOT


@pytest.fixture
def backends(tmp_path):
    """An image's backend directory, as the Dockerfile leaves it."""
    (tmp_path / "backends/python").mkdir(parents=True)
    for mark in (tmp_path / MARK, tmp_path / "backends/python" / MARK):
        mark.write_text("ab12  libtriton_python.so\n")
    return tmp_path / "backends"


def test_an_images_own_backend_is_taken(backends):
    refuse_former_backend(backends)


@pytest.mark.parametrize("former", ["cd34  libtriton_python.so\n", None])
def test_a_former_images_volume_is_refused_with_what_to_say(backends, former):
    mark = backends / "python" / MARK
    mark.unlink() if former is None else mark.write_text(former)
    with pytest.raises(ConfigError, match="--renew-anon-volumes"):
        refuse_former_backend(backends)


def test_backends_of_no_image_are_taken(backends):
    (backends.parent / MARK).unlink()
    refuse_former_backend(backends)


def test_the_dockerfile_writes_the_mark():
    assert (ROOT / "Dockerfile").read_text().count(MARK) == 2
