import numpy as np
import pytest

from exeunt.errors import ConfigError
from exeunt.hosting.state import StateFile


def test_state_comes_back_as_it_was_saved(tmp_path):
    file = StateFile(tmp_path / "new", "abc")
    file.save({"lambda": 0.25, "names": ["a"], "window": np.arange(3.0)}, tuner="budget", clean=True)
    state, clean = file.load("budget")
    assert clean and state["lambda"] == 0.25 and state["names"] == ["a"]
    np.testing.assert_array_equal(state["window"], [0, 1, 2])


def test_where_nothing_was_saved_there_is_nothing(tmp_path):
    assert StateFile(tmp_path, "abc").load("budget") is None


def test_another_tuners_state_is_not_taken_over(tmp_path):
    StateFile(tmp_path, "abc").save({}, tuner="static", clean=True)
    assert StateFile(tmp_path, "abc").load("budget") is None


@pytest.mark.parametrize("keep", [0, 7, 100])
def test_a_truncated_file_is_refused_by_name(tmp_path, keep):
    file = StateFile(tmp_path, "abc")
    file.save({"window": np.arange(100.0)}, tuner="budget", clean=True)
    file.path.write_bytes(file.path.read_bytes()[:keep])
    with pytest.raises(ConfigError, match=r"abc\.npz: not a good state file"):
        file.load("budget")


def test_pickles_are_never_read(tmp_path):
    np.savez(tmp_path / "abc.npz", _=np.array({"schema_version": 1}, dtype=object))
    with pytest.raises(ConfigError, match="not a good state file"):
        StateFile(tmp_path, "abc").load("budget")


def test_a_save_that_fails_leaves_the_last_good_state(tmp_path, monkeypatch):
    file = StateFile(tmp_path, "abc")
    file.save({"lambda": 0.25}, tuner="budget", clean=True)

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        file.save({"lambda": 0.5}, tuner="budget", clean=True)
    monkeypatch.undo()
    assert file.load("budget")[0]["lambda"] == 0.25
    assert list(tmp_path.iterdir()) == [file.path]


def test_a_state_of_another_bag_is_refused_whatever_its_file_is_called(tmp_path):
    StateFile(tmp_path, "abc").save({}, tuner="budget", clean=True)
    (tmp_path / "abc.npz").rename(tmp_path / "def.npz")
    with pytest.raises(ConfigError, match="another bag"):
        StateFile(tmp_path, "def").load("budget")


def test_only_one_process_keeps_the_state_of_a_bag_in_a_folder(tmp_path):
    first, second = StateFile(tmp_path, "abc"), StateFile(tmp_path, "abc")
    first.claim()
    with pytest.raises(ConfigError, match="another server"):
        second.claim()
    other_bag = StateFile(tmp_path, "def")
    other_bag.claim()
    first.release()
    second.claim()
    for file in (second, other_bag):
        file.release()


def test_nobody_else_may_read_the_state(tmp_path):
    file = StateFile(tmp_path, "abc")
    file.save({}, tuner="budget", clean=True)
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_what_was_saved_up_is_marked_as_used(tmp_path):
    file = StateFile(tmp_path, "abc")
    file.save({"lambda": 0.25}, tuner="budget", clean=True)
    state, clean = file.load("budget")
    assert clean
    file.mark_used(state, "budget")
    again, clean = StateFile(tmp_path, "abc").load("budget")
    assert again == {"lambda": 0.25} and not clean
