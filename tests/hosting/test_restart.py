"""Restarts: what was saved up is spent at most once, whatever the disk and the file do."""

import os
import time

import numpy as np
import pytest

from exeunt.deciding.controller import Controller
from exeunt.errors import ConfigError
from exeunt.hosting.assembly import HostedBag
from exeunt.hosting.control import control_path
from exeunt.hosting.guard import Guard
from exeunt.hosting.status import find_status
from exeunt.records.feedback import Feedback
from exeunt.tuning.registry import make_tuner
from exeunt.tuning.tuner import Setup
from tests.deciding.controller_bag import manifest
from tests.hosting.test_host import PoolRunner


class Life:
    """One life of a bag's process: started on a state folder, then stopped in order, or killed."""

    def __init__(self, folder):
        self.bag = manifest(tuner="budget", state_dir=str(folder))
        nothing = Feedback.observed(np.zeros((0, 3)), np.zeros((0, 3)))
        self.controller = Controller(
            self.bag, make_tuner(Setup(self.bag.costs(), self.bag.settings, nothing, 0)), np.random.default_rng(0)
        )
        self.lines = []
        self.guard = Guard(self.lines.append)
        replies = (lambda release: None, lambda samples: None, self.lines.append)
        self.hosted = HostedBag(self.controller, PoolRunner(self.bag), *replies, self.guard, {})

    @property
    def account(self):
        return self.controller.tuner.budget.classes[0]

    def stop(self):
        self.hosted.stop(drain_s=1.0)

    def kill(self):
        """End without a word: threads stop, nothing is saved, the lock goes with the process."""
        self.hosted._housekeeping._save = lambda clean: None
        self.hosted.stop(drain_s=0.0)


@pytest.fixture
def saved_up(tmp_path):
    """A state folder after an orderly stop with half of what may be saved up."""
    life = Life(tmp_path)
    life.account.reserve = life.account.capacity / 2
    life.stop()
    return tmp_path


def test_an_orderly_stop_keeps_what_was_saved_up(saved_up):
    life = Life(saved_up)
    assert life.account.reserve == pytest.approx(life.account.capacity / 2)
    life.stop()


def test_what_was_saved_up_is_spent_once_however_often_the_process_is_killed(saved_up):
    reserves = []
    for _ in range(3):
        life = Life(saved_up)
        reserves.append(life.account.reserve)
        life.kill()
    assert reserves[0] > 0 and reserves[1:] == [0.0, 0.0]


def test_on_a_full_disk_nothing_that_was_saved_up_is_spent(saved_up, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", full)
        for _ in range(3):
            life = Life(saved_up)
            assert life.account.reserve == 0.0
            assert any("without what was saved up" in line for line in life.lines)
            life.kill()


def test_a_state_that_cannot_be_made_durable_gives_no_savings(saved_up, monkeypatch):
    def broken(_descriptor):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        life = Life(saved_up)
        assert life.account.reserve == 0.0
        life.kill()


@pytest.mark.parametrize("place", [10, 200, 1000, -40])
def test_a_state_with_one_wrong_byte_never_keeps_the_server_from_starting(saved_up, place):
    (file,) = saved_up.glob("*.npz")
    content = bytearray(file.read_bytes())
    content[place] ^= 0xFF
    file.write_bytes(content)
    life = Life(saved_up)
    assert life.account.reserve in (0.0, pytest.approx(life.account.capacity / 2))
    life.stop()


def test_two_servers_cannot_share_a_state_folder(tmp_path):
    life = Life(tmp_path)
    with pytest.raises(ConfigError, match="another server keeps this bag's state"):
        Life(tmp_path)
    life.stop()


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"max_loss": ' + "1" * 5000 + "}", "\x00", "[]", '{"schema_version']
)
def test_a_bad_control_file_changes_nothing_and_the_next_good_one_is_obeyed(tmp_path, content):
    life = Life(tmp_path)
    path = control_path(tmp_path, life.bag.content_hash)
    path.write_text(content)
    until(lambda: any("control file not obeyed" in line for line in life.lines))
    assert life.account.eps == 0.01
    path.write_text('{"schema_version": 1, "max_loss": 0.005, "version": 7}')
    until(lambda: life.account.eps == 0.005)
    assert not life.guard.faults
    life.stop()


def until(happened):
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_bag_that_has_started_has_a_status(tmp_path):
    life = Life(tmp_path)
    try:
        assert find_status(tmp_path, life.bag.bag).bag == life.bag.bag
    finally:
        life.stop()
