"""Gears: the one that answers sooner is taken, whatever the load does to both."""

import numpy as np
import pytest

from exeunt.deciding.gears import BLOCK, LEARNT_ROWS, LEAST_OFTEN, MOST_OFTEN, OWN_US, Gear, Gears
from tests.deciding.controller_bag import admit, at_exit, controller, manifest, votes_of

FULL_US = 700.0
ENOUGH = 40_000


def gears(seed=0, full_us=FULL_US):
    return Gears(lambda rows: full_us * rows, np.random.default_rng(seed))


def driven(of, tickets, exits_us, plain_us, load=lambda number: 1.0, learnt=LEARNT_ROWS):
    """Answer tickets one after the other; how many were plain."""
    plain = 0
    for number in range(tickets):
        gear, counts = of.choose(learnt)
        if counts:
            latency_us = load(number) * (plain_us if gear == Gear.PLAIN else exits_us)
            of.note_latency(gear, 1, latency_us, latency_us)
        plain += gear == Gear.PLAIN
    return plain


def test_where_exits_cost_more_than_they_give_tickets_become_plain():
    of = gears()
    driven(of, ENOUGH, exits_us=1400, plain_us=1100)
    assert of.gear == Gear.PLAIN


def test_where_exits_pay_nobody_is_ever_sent_the_plain_way():
    assert driven(gears(), ENOUGH, exits_us=600, plain_us=700) == 0


def test_a_difference_within_the_margin_changes_nothing():
    of = gears()
    driven(of, ENOUGH, exits_us=1030, plain_us=1000)
    assert of.gear == Gear.EXITS


def test_plain_is_left_again_when_exits_have_come_to_pay():
    of = gears()
    driven(of, ENOUGH, exits_us=1400, plain_us=1100)
    driven(of, 10 * ENOUGH, exits_us=500, plain_us=1100)
    assert of.gear == Gear.EXITS


def test_a_gear_is_judged_by_what_it_does_to_all_who_are_in_flight():
    """Sixteen callers: whoever is asked plainly waits behind those with exits, and the other way round."""
    of, costs_us = gears(), {Gear.EXITS: 300.0, Gear.PLAIN: 200.0}
    in_flight = []
    for _ in range(ENOUGH):
        in_flight.append(of.choose(LEARNT_ROWS))
        if len(in_flight) > 16:
            gear, counts = in_flight.pop(0)
            if counts:
                latency_us = sum(costs_us[other] for other, _ in in_flight)
                of.note_latency(gear, 1, latency_us, latency_us)
    assert of.gear == Gear.PLAIN


def test_a_load_that_rises_and_falls_does_not_look_like_a_difference():
    of, changes = gears(), 0
    for number in range(200):
        before = of.gear
        driven(of, 1000, exits_us=1200, plain_us=1200, load=lambda _, n=number: 1.5 + np.sin(n / 3))
        changes += of.gear != before
    assert changes <= 8  # by chance, and then without harm


def test_a_stall_of_a_second_does_not_decide():
    of = gears()
    driven(of, ENOUGH, exits_us=1200, plain_us=1190, load=lambda number: 1000.0 if number % 5000 == 4000 else 1.0)
    assert of.gear == Gear.EXITS


def test_a_tuner_that_has_not_learnt_yet_is_given_time():
    assert driven(gears(), ENOUGH, exits_us=1400, plain_us=1100, learnt=LEARNT_ROWS - 1) == 0


def test_probes_become_rare_where_the_gear_in_use_is_kept_and_never_end():
    of = gears()
    driven(of, 50 * ENOUGH, exits_us=2000, plain_us=4000)  # under a load that makes both slower than the profile
    assert of.gear == Gear.EXITS and of.probe_share == LEAST_OFTEN > 0
    assert 0 < driven(of, 10 * ENOUGH, exits_us=2000, plain_us=4000) < 10 * ENOUGH / 100


@pytest.mark.parametrize(("full_us", "share"), [(100.0, MOST_OFTEN), (20_000.0, OWN_US / 20_000.0)])
def test_probes_are_rare_from_the_start_where_the_members_take_long(full_us, share):
    of = gears(full_us=full_us)
    blocks = 2000
    probes = sum(driven(of, BLOCK, exits_us=2 * full_us, plain_us=2 * full_us) > 0 for _ in range(blocks))
    assert of.probe_share <= share and probes <= share * blocks + 6 * np.sqrt(share * blocks)


STAGED = (Gear.STAGES, Gear.EXITS, Gear.PLAIN)


def settled(latencies_us, tickets=4 * ENOUGH):
    """The gear in use, of a bag with stages, after a while with these latencies by gear."""
    of = Gears(lambda rows: FULL_US * rows, np.random.default_rng(0), STAGED)
    for _ in range(tickets):
        gear, counts = of.choose(LEARNT_ROWS)
        if counts:
            of.note_latency(gear, 1, latencies_us[gear], latencies_us[gear])
    return of.gear


@pytest.mark.parametrize("best", STAGED)
def test_of_three_gears_the_fastest_is_found(best):
    assert settled({gear: 800.0 if gear == best else 1400.0 for gear in STAGED}) == best


def test_a_gear_that_exits_make_fast_is_left_for_a_faster_one_with_exits():
    assert settled({Gear.STAGES: 500.0, Gear.EXITS: 300.0, Gear.PLAIN: 700.0}) == Gear.EXITS


def test_a_gear_that_exits_make_fast_is_never_left_for_the_plain_one():
    of = Gears(lambda rows: FULL_US * rows, np.random.default_rng(0), STAGED)
    gears_used = set()
    for _ in range(ENOUGH):
        gear, counts = of.choose(LEARNT_ROWS)
        gears_used.add(gear)
        if counts:
            of.note_latency(gear, 1, 500.0, 500.0)
    assert gears_used == {Gear.STAGES, Gear.EXITS}


def test_who_waited_long_tells_of_earlier_blocks_and_does_not_count():
    of = gears()
    for _ in range(ENOUGH):
        gear, _ = of.choose(LEARNT_ROWS)
        of.note_latency(gear, 1, latency_us=(90_000 if gear == Gear.EXITS else 50_000), in_flight_us=1000)
    assert of.gear == Gear.EXITS


def test_tickets_of_any_size_are_compared():
    of = gears()
    for number in range(ENOUGH):
        (gear, counts), rows = of.choose(LEARNT_ROWS), 1 + number % 8
        if counts:
            latency_us = rows * (1100 if gear == Gear.PLAIN else 1400)
            of.note_latency(gear, rows, latency_us, latency_us)
    assert of.gear == Gear.PLAIN


EVERYBODY, NOBODY = [1.1, 1.1, 0.0], [0.0, 0.0, 0.0]


def wanted(of):
    (ticket,) = of.tickets.values()
    return ticket.requested_exits.tolist()


@pytest.mark.parametrize(("gear", "expected"), [("plain", [False, False, True]), ("exits", [True, True, True])])
def test_the_setting_overrules_the_measurement(gear, expected):
    of = controller(manifest(gear=gear), EVERYBODY)
    admit(of)
    assert wanted(of) == expected


def test_who_never_leaves_early_asks_for_the_full_vote_only():
    of = controller(manifest(), EVERYBODY)
    admit(of, never=True)
    assert wanted(of) == [False, False, True] and of.counters.plain_tickets == 1


@pytest.mark.parametrize("never", [True, False])
def test_who_has_a_deadline_asks_for_every_exit_since_any_vote_may_be_the_best_so_far(never):
    of = controller(manifest(gear="plain"), EVERYBODY)
    admit(of, never=never, deadline_us=5, hurries=True)
    assert wanted(of) == [True, True, True]


def test_a_plain_ticket_is_answered_by_the_full_vote_under_the_promise():
    bag = manifest(gear="plain")
    of = controller(bag, EVERYBODY)
    (release,) = of.arrived(admit(of, rows=2), at_exit(bag, 2, votes_of(bag, 2)), 5)
    assert release.answer.exit.tolist() == [2, 2]
    assert of.counters.promised_rows == 2 and of.idle
