"""A bag with two gears on the real server: a ticket leaves at an exit of its gear, and the full vote is the same."""

import dataclasses
import time

import numpy as np
import pytest

from exeunt.contract import MANIFEST_FILE, exit_model
from exeunt.measuring.perf_metrics import FLUSH_S, parse, scrape
from exeunt.serving.pip_server import serve
from exeunt_export.export_bag import export_bag
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag
from tests.triton.calls import ask, manifest_of

pytestmark = pytest.mark.triton
ROWS = noise_rows(12, 7, 16)
SETTINGS = 'tuner = "static"\ntuner_options = { thresholds = [1.0] }\nlossless = false\nshadow_share = 0.0'


@pytest.fixture(scope="module")
def served(triton, tmp_path_factory):
    """By gear, (exits of single rows, full votes, lean tickets, tickets)."""
    answers_by_gear = {}
    for gear in ("exits", "lean"):
        folder = tmp_path_factory.mktemp(gear)
        repository = folder / "repository"
        export_bag(tiny_bag(folder, mode="engine", members=2, exit_table=SETTINGS), repository)
        bag = manifest_of(repository)
        exits = tuple(range(len(bag.exits)))
        settings = dataclasses.replace(bag.settings, gear=gear)
        geared = dataclasses.replace(bag, gears=(exits, exits[1:]), settings=settings)
        geared.save(repository / exit_model("tiny") / "1" / MANIFEST_FILE)
        with serve(repository, state_dir=folder / "state") as server:
            row_exits = [int(ask(server, "grpc", row[None])["EXIT"][0, 0]) for row in ROWS]
            full = ask(server, "grpc", ROWS, exit="never")["PROBABILITIES"]
            answers_by_gear[gear] = row_exits, full, _counted(server)
    return answers_by_gear


def _counted(server):
    time.sleep(2 * FLUSH_S)
    numbers = {family: value for (family, _), value in parse(scrape(server.metrics_url)).items()}
    return numbers["exeunt_lean_tickets_total"], numbers["exeunt_tickets_total"]


@pytest.mark.parametrize(("gear", "exit_"), [("exits", 0), ("lean", 1)])
def test_rows_leave_from_the_first_exit_of_their_gear_on(served, gear, exit_):
    assert min(served[gear][0]) == exit_


def test_the_full_vote_is_bit_for_bit_the_same(served):
    np.testing.assert_array_equal(served["exits"][1], served["lean"][1])


@pytest.mark.parametrize(("gear", "lean"), [("exits", 0), ("lean", len(ROWS))])
def test_lean_tickets_are_counted(served, gear, lean):
    assert served[gear][2] == (lean, len(ROWS) + 1)
