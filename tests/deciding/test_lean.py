"""The lean gear: taken when many wait for each worker, left when hardly anybody does, and never back and forth."""

import dataclasses
import json

import numpy as np
import pytest

from exeunt.contract import Reason
from exeunt.deciding.admission import PROBES
from exeunt.deciding.lean import LEAST_TICKETS, LeanChoice
from exeunt.deciding.votes import ExitVoters
from exeunt.errors import ConfigError
from tests.deciding.controller_bag import admit, at_exit, controller, manifest, thresholds_of

AT_REST, LEAN = (0, 2, 4), (1, 3, 4)  # exits of the gears
EXITS = ((1, 0, 0), (0, 2, 0), (1, 1, 1), (1, 2, 0), (1, 2, 1))
EVERYBODY, NOBODY = [1.1] * 4 + [0.0], [0.0] * 5
MANY, FEW = 100, 1


def geared(**settings):
    return dataclasses.replace(manifest(EXITS, **settings), mode="engine", gears=(AT_REST, LEAN))


def chosen(of, unanswered, tickets):
    return [of.choose(unanswered) for _ in range(tickets)]


def wanted(of):
    return np.flatnonzero(list(of.tickets.values())[-1].requested_exits).tolist()


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_it_is_taken_as_soon_as_somebody_waits_though_every_worker_has_a_request(workers):
    of = LeanChoice()
    of.workers = workers
    assert not any(chosen(of, workers, 10 * LEAST_TICKETS)) and of.choose(workers + 1)


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
def test_it_is_kept_until_half_of_the_workers_have_nothing_to_do_or_a_request_is_alone(workers):
    of = LeanChoice()
    of.workers = workers
    few = max(1, workers // 2)
    assert of.choose(MANY)
    assert all(chosen(of, few + 1, 10 * LEAST_TICKETS)) and not of.choose(few)


def test_a_load_that_jumps_from_ticket_to_ticket_changes_the_gear_seldom():
    of = LeanChoice()
    for number in range(100 * LEAST_TICKETS):
        of.choose(MANY if number % 2 else FEW)
    assert of.changes <= 101


@pytest.mark.parametrize(("gear", "exits"), [("exits", AT_REST), ("lean", LEAN), ("auto", AT_REST)])
def test_a_ticket_wants_the_exits_of_one_gear(gear, exits):
    of = controller(geared(gear=gear), NOBODY)
    admit(of)
    assert wanted(of) == list(exits)


def test_a_bag_without_gears_offers_all_its_exits_whatever_waits():
    of = controller(manifest(gear="lean"), [1.1, 1.1, 0.0])
    admit(of)
    assert wanted(of) == [0, 1, 2] and of.counters.lean_tickets == 0


def of_many(share, tickets=3000, **settings):
    """Admit and forget tickets, one at a time; how many wanted which exits."""
    of = controller(geared(shadow_share=share, **settings), NOBODY)
    counts = {AT_REST: 0, LEAN: 0}
    for key in range(tickets):
        admit(of, key=key)
        counts[tuple(wanted(of))] += 1
        of.give_up(0)
    return counts


def test_at_rest_a_few_tickets_are_lean_so_that_its_exits_stay_known():
    counts = of_many(share=0.0)
    assert counts[LEAN] == pytest.approx(3000 * PROBES, rel=0.3)


def test_shadow_tickets_are_of_either_gear():
    counts = of_many(share=1.0)
    assert counts[LEAN] == pytest.approx(1500, rel=0.1)


def test_who_is_behind_does_not_try_the_plain_gear():
    of = controller(geared(max_tickets=10_000), NOBODY)
    of.counters.finished_rows = 100_000
    for key in range(3000):
        admit(of, key=key)
    assert of.counters.plain_tickets == 0 and of.counters.lean_tickets > 2500


@pytest.mark.parametrize(("depths", "certain"), [((1, 0, 0), False), ((0, 2, 0), False), ((1, 2, 0), True)])
def test_a_label_may_be_certain_where_more_than_half_of_the_weight_has_finished(depths, certain):
    assert ExitVoters(geared(), EXITS.index(depths)).may_be_certain == certain


def test_while_nobody_is_trusted_exits_of_certain_labels_are_offered_though_the_tuner_left_them_out():
    of = controller(geared(gear="lean", lossless=True), EVERYBODY, active=[True, True, True, False, True])
    thresholds_of(of).trusts = lambda: False
    admit(of)
    assert wanted(of) == [1, 3, 4]


def test_a_certain_label_leaves_at_an_exit_that_the_tuner_left_out_and_a_doubtful_one_does_not():
    bag = geared(gear="lean", lossless=True)
    of = controller(bag, EVERYBODY, active=[False] * 4 + [True])
    thresholds_of(of).trusts = lambda: False
    ticket = admit(of, rows=2)
    votes = {pair: np.eye(4, dtype=np.float32)[[0, 1]] for pair in [(0, 1), (1, 2), (2, 1)]}
    votes[0, 1] = np.eye(4, dtype=np.float32)[[0, 2]]  # members disagree about the second row
    rows = of.tickets[ticket]
    of.arrived(ticket, at_exit(bag, 3, votes), 1)
    assert rows.exit.tolist() == [3, -1] and rows.reason[0] == Reason.LOSSLESS


@pytest.mark.parametrize(
    "gears",
    [
        ((0, 2, 4), (1, 3)),
        ((0, 1, 4), (2, 3, 4)),
        ((0, 2, 4),),
        ((2, 0, 4), (1, 3, 4)),
        (AT_REST, LEAN, LEAN),
        ((), LEAN),
    ],
)
def test_gears_that_are_no_chains_of_all_exits_are_refused(gears):
    with pytest.raises(ConfigError, match="gear"):
        dataclasses.replace(geared(), gears=gears).check("here")


def test_gears_that_are_chains_of_all_exits_are_taken():
    geared().check("here")


def test_a_manifest_with_gears_is_read_as_it_was_written(tmp_path):
    bag = geared()
    bag.save(tmp_path / "manifest.json")
    assert type(bag).load(tmp_path / "manifest.json") == bag


def test_a_manifest_without_gears_keeps_the_hash_that_it_had_before_there_were_any(tmp_path):
    bag = dataclasses.replace(geared(), gears=())
    bag.save(tmp_path / "manifest.json")
    table = json.loads((tmp_path / "manifest.json").read_text())
    del table["gears"]
    (tmp_path / "manifest.json").write_text(json.dumps(table))
    assert type(bag).load(tmp_path / "manifest.json").content_hash == bag.content_hash != geared().content_hash
