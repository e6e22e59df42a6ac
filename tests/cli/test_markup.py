"""Names and errors are shown as they are, whatever they look like to the terminal library."""

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from exeunt.cli.infer import _print_table
from exeunt.hosting.status import Status, status_path, write_status
from exeunt.measuring.tables import accuracy_table
from exeunt_client.answers import Answers

ODD = "[red]not a colour[/red] [/nothing]"


def test_a_label_that_looks_like_markup_is_shown_as_it_is(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    outputs = {"PROBABILITIES": np.array([[1.0, 0.0]], dtype=np.float32)}
    _print_table(Answers.from_outputs(outputs, (ODD, "b")))
    assert ODD in capsys.readouterr().out


def test_a_name_in_a_table_is_shown_as_it_is():
    text = io.StringIO()
    Console(file=text, width=200).print(accuracy_table({ODD: 0.5}))
    assert ODD in text.getvalue()


@pytest.mark.parametrize("field", ["control_error", "tuner"])
def test_a_servers_own_words_are_shown_as_they_are(tmp_path, capsys, monkeypatch, field):
    from exeunt.cli.main import main

    monkeypatch.setenv("COLUMNS", "200")
    status = Status("digits", "abc", 7, 0.0, 100.0, "budget", 0.01, active=(True, True), answers=({}, {}))
    write_status(status_path(tmp_path, "abc"), dataclasses.replace(status, **{field: ODD}))
    assert main(["control", "digits", f"--state-dir={tmp_path}"]) == 0
    assert ODD in capsys.readouterr().out
