import threading
import time
from contextlib import ExitStack

import pytest

from exeunt.errors import ConfigError
from exeunt.serving.drain import Drain, drain_all, hold

HASH = "0123456789abcdef"


def controller(drain: Drain) -> threading.Thread:
    """Answers a drain request as the exit controller does."""

    def run() -> None:
        while not drain.request.exists():
            time.sleep(0.005)
        drain.request.unlink()
        drain.answer.touch()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_drain_ends_when_the_controller_says_so(tmp_path):
    drain = Drain(tmp_path, HASH, drain_s=60)
    thread = controller(drain)
    assert drain_all([drain], alive=lambda: True)
    thread.join()


def test_a_dead_server_is_not_waited_for(tmp_path):
    assert not drain_all([Drain(tmp_path, HASH, drain_s=60)], alive=lambda: False)


def test_a_silent_controller_is_waited_for_drain_s_and_no_longer(tmp_path):
    assert not drain_all([Drain(tmp_path, HASH, drain_s=-5)], alive=lambda: True)


def test_a_server_without_bags_has_nothing_to_drain():
    assert drain_all([], alive=lambda: True)


def test_what_an_earlier_server_left_is_removed(tmp_path):
    drain = Drain(tmp_path, HASH, drain_s=1)
    drain.answer.touch()
    with ExitStack() as stack:
        hold([drain], stack)
        assert not drain.answer.exists()


def test_two_servers_cannot_share_the_state_of_one_bag(tmp_path):
    with ExitStack() as stack:
        hold([Drain(tmp_path, HASH, drain_s=1)], stack)
        with pytest.raises(ConfigError, match="another server of this bag"), ExitStack() as other:
            hold([Drain(tmp_path, HASH, drain_s=1)], other)
        with ExitStack() as another_bag:
            hold([Drain(tmp_path, "f" * 16, drain_s=1)], another_bag)


def test_a_state_dir_that_is_a_file_is_refused_by_name(tmp_path):
    (tmp_path / "state").touch()
    with pytest.raises(ConfigError, match="state: state_dir cannot be written"):
        Drain(tmp_path / "state", HASH, drain_s=1).acquire()
