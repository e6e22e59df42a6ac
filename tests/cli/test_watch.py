"""`exeunt watch`: what it shows of a status file."""

import dataclasses
import subprocess
import sys
import time

import pytest
from rich.console import Console

from exeunt.cli.main import main
from exeunt.cli.watch import promise, view
from exeunt.hosting.status import Status, status_path, write_status

NOW = 1_000_100.0
STATUS = Status(
    bag="digits",
    content_hash="abc",
    pid=7,
    started_unix_s=1_000_000.0,
    written_unix_s=NOW,
    tuner="budget",
    max_loss=0.01,
    active=(True, False, True),
    thresholds=(0.25, 0.5, None),
    answers=({"early": 60}, {"early": 10, "deadline": 10}, {"full": 20}),
    metrics={"losses": 1.0, "abandoned_rows": None, "lambda": 0.3, "promised_rows_all": 90.0},
    tickets_in_flight=2,
    waiting_rows=5,
)


def shown(earlier=STATUS, latest=STATUS, unix_s=NOW):
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115 - closed below
    with console.file:
        console.print(view(earlier, latest, unix_s))
    return console.export_text()


def test_it_shows_who_left_where():
    lines = shown().splitlines()
    assert any(line.split()[:5] == ["0", "yes", "0.250", "60", "60.0%"] for line in lines)
    assert any(line.split()[:4] == ["full", "yes", "20", "20.0%"] for line in lines)


def test_rows_outside_the_promise_do_not_thin_the_loss():
    assert promise(STATUS) == "promised loss 1.00%, so far 1.11%; lambda 0.30"


def test_a_spent_budget_is_said_in_words():
    assert promise(dataclasses.replace(STATUS, metrics={"lambda": 1.2})).endswith("lambda 1.20 (nobody leaves early)")


def test_the_rate_is_that_since_the_last_look():
    earlier = dataclasses.replace(STATUS, written_unix_s=NOW - 2, answers=({"early": 40}, {}, {"full": 20}))
    assert "20.0 rows/s, 2 batches in flight, 5 rows waiting" in shown(earlier)


def test_a_server_that_was_stopped_in_order_is_not_called_silent():
    assert "stopped" in shown(latest=dataclasses.replace(STATUS, stopped=True), unix_s=NOW + 60)


def test_a_server_that_no_longer_writes_is_called_silent():
    assert "silent for 60 s" in shown(unix_s=NOW + 60)


def test_an_exit_that_was_switched_off_is_told_from_one_not_offered():
    off = dataclasses.replace(STATUS, exits_off=(1,))
    assert any(line.split()[:2] == ["1", "off"] for line in shown(latest=off).splitlines())
    assert any(line.split()[:2] == ["1", "no"] for line in shown().splitlines())


def test_it_ends_after_the_looks_asked_for(tmp_path, capsys):
    write_status(status_path(tmp_path, "abc"), dataclasses.replace(STATUS, written_unix_s=time.time()))
    assert main(["watch", "digits", f"--state-dir={tmp_path}", "--every-s=0.01", "--looks=2"]) == 0
    assert "running" in capsys.readouterr().out


@pytest.mark.parametrize(("extra", "message"), [(["--every-s=0"], "above 0"), ([], "no status")])
def test_what_cannot_be_watched_is_said(tmp_path, capsys, extra, message):
    assert main(["watch", "digits", f"--state-dir={tmp_path}", *extra]) == 78
    assert message in capsys.readouterr().err


@pytest.fixture
def piped(tmp_path):
    """A watch whose output is a pipe; its server writes no more."""
    write_status(status_path(tmp_path, "abc"), dataclasses.replace(STATUS, written_unix_s=time.time()))
    line = [sys.executable, "-m", "exeunt.cli.main", "watch", "digits", f"--state-dir={tmp_path}", "--every-s=0.01"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        yield watching
        watching.kill()


def test_a_reader_of_a_pipe_gets_the_views_as_they_are_seen(piped):
    heads = [line for line in (piped.stdout.readline() for _ in range(30)) if line.startswith("digits")]
    assert len(heads) >= 2 and piped.poll() is None


def test_it_ends_when_its_reader_does(piped):
    piped.stdout.readline()
    piped.stdout.close()
    assert piped.wait(timeout=60) != 0
    assert piped.stderr.read() == ""
