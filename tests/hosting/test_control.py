"""Control and status files: what an operator may change in a running server, and what it says about itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from exeunt.errors import ConfigError
from exeunt.hosting import control as c
from exeunt.hosting import status as s


def status(bag: str = "digits", content_hash: str = "ab", written_unix_s: float = 2.0) -> s.Status:
    return s.Status(
        bag=bag,
        content_hash=content_hash,
        pid=7,
        started_unix_s=1.0,
        written_unix_s=written_unix_s,
        tuner="budget",
        max_loss=0.01,
        active=(True, False, True),
        thresholds=(0.25, None, 0.0),
        answers=({"early": 3}, {}, {"full": 4, "lossless": 1}),
        metrics={"lambda": 0.5},
    )


def test_a_control_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = c.control_path(tmp_path / "new folder", "ab")
    for control in (c.Control(), c.Control(0.02, {"gold": 0.001}, (0, 2), 3), c.Control(exits_off="all", version=1)):
        c.write_control(path, control)
        assert c.read_control(path) == control


def test_a_missing_control_file_changes_nothing(tmp_path: Path) -> None:
    assert c.read_control(tmp_path / "none.control.json") == c.Control()


def test_a_status_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = s.status_path(tmp_path, "ab")
    s.write_status(path, status())
    assert s.read_status(path) == status()


def test_numpy_numbers_and_nan_in_a_status_become_plain_json(tmp_path: Path) -> None:
    path = s.status_path(tmp_path, "ab")
    odd = s.Status("digits", "ab", 7, 1.0, 2.0, "static", 0.01, thresholds=(np.float64("nan"), np.float32(0.5)))
    s.write_status(path, odd)
    assert json.loads(path.read_text())["thresholds"] == [None, 0.5]


def test_writing_leaves_no_temporary_file(tmp_path: Path) -> None:
    c.write_control(c.control_path(tmp_path, "ab"), c.Control(version=1))
    assert [path.name for path in tmp_path.iterdir()] == ["ab.control.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"max_loss": 1.5}, r"max_loss = 1\.5; allowed: a number from 0 to 1"),
        ({"max_loss": True}, "max_loss = True"),
        ({"exits_off": [2]}, r"exits_off holds 2; allowed: 0 to 1 \(exit 2 is the full ensemble"),
        ({"exits_off": "some"}, "exits_off = 'some'"),
        ({"exits_off": ["0"]}, "exits_off holds '0'"),
        ({"service_classes": {"silver": 0.1}}, "unknown service class 'silver'"),
        ({"max_los": 0.1}, "unknown key 'max_los'; did you mean 'max_loss'"),
        ({"schema_version": 9}, "schema_version 9; allowed: 1"),
    ],
)
def test_a_control_that_cannot_be_obeyed_is_refused_by_name(tmp_path: Path, content: dict, message: str) -> None:
    path = tmp_path / "ab.control.json"
    path.write_text(json.dumps({"schema_version": 1} | content))
    with pytest.raises(ConfigError, match=message):
        c.ControlWatch(path, exits=3, classes={"gold": 0.001}).poll()


def test_a_watch_reports_each_change_once(tmp_path: Path) -> None:
    path = c.control_path(tmp_path, "ab")
    watch = c.ControlWatch(path, exits=3, classes={})
    polled = [watch.poll()]
    c.write_control(path, c.Control(0.02, version=1))
    polled += [watch.poll(), watch.poll()]
    path.unlink()
    polled += [watch.poll(), watch.poll()]
    assert polled == [None, c.Control(0.02, version=1), None, c.Control(), None]


def test_a_bad_control_file_is_reported_once(tmp_path: Path) -> None:
    path = tmp_path / "ab.control.json"
    path.write_text("{")
    watch = c.ControlWatch(path, exits=3, classes={})
    with pytest.raises(ConfigError, match="not a good JSON file"):
        watch.poll()
    assert watch.poll() is None


def test_the_newest_status_of_a_bag_is_found_by_name(tmp_path: Path) -> None:
    for content_hash, written in (("old", 1.0), ("new", 5.0)):
        s.write_status(s.status_path(tmp_path, content_hash), status("digits", content_hash, written))
    s.write_status(s.status_path(tmp_path, "other"), status("glyphs", "other", 9.0))
    assert s.find_status(tmp_path, "digits").content_hash == "new"


def test_an_unknown_bag_is_answered_with_those_that_run(tmp_path: Path) -> None:
    s.write_status(s.status_path(tmp_path, "ab"), status("digits"))
    with pytest.raises(ConfigError, match="unknown bag 'digit'; did you mean 'digits'"):
        s.find_status(tmp_path, "digit")
    with pytest.raises(ConfigError, match="no status of a running server"):
        s.find_status(tmp_path / "empty", "digits")


@pytest.mark.parametrize("feedback", ["all", "auto", 0.1, 1.0])
def test_feedback_may_be_all_auto_or_a_share(feedback: str | float) -> None:
    c.Control(feedback=feedback).check("control", least_feedback=0.1)


@pytest.mark.parametrize("feedback", ["some", 0.0, 0.05, 2, True, [0.5]])
def test_other_feedback_is_refused_with_what_is_allowed(feedback: object) -> None:
    with pytest.raises(ConfigError, match="least_finish_probability"):
        c.Control(feedback=feedback).check("control", least_feedback=0.1)  # type: ignore[arg-type]
