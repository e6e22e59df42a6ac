"""Single rules of the scheduler, each in a scene of its own."""

import dataclasses
import gc
import weakref

import numpy as np
import pytest

from exeunt.contract import Reason
from exeunt.deciding.controller import Controller
from exeunt.deciding.request import Request
from exeunt.engine.scheduler import Scheduler
from tests.deciding.controller_bag import FixedThresholds, admit, controller, votes_of
from tests.engine.scenes import BAG, engine_bag
from tests.engine.simulate import Simulation


def test_the_member_that_the_exit_waits_for_longest_goes_first():
    of = controller(BAG, [0.0, 0.0, 0.0], active=[False, False, True])
    scheduler = Scheduler(BAG, workers=1)
    scheduler.start(of.tickets[admit(of)], {})
    assert [scheduler.next_run().member for _ in range(3)] == [1, 0, 2]  # 12, 10, 9 ms to go


def exit_of_the_first_vote(**options):
    uneven = engine_bag([[1000], [5000, 5000, 5000]], ((1, 1), (1, 3)))
    of = controller(uneven, [0.0, 0.0])
    scheduler = Scheduler(uneven, workers=1)
    scheduler.start(of.tickets[admit(of, never=True, **options)], {})
    while not (dues := scheduler.done(scheduler.next_run())):
        pass
    return dues[0].exit_


def test_a_ticket_with_a_deadline_gets_a_vote_at_every_exit_also_where_it_never_leaves_early():
    assert exit_of_the_first_vote(deadline_us=5, hurries=True) == 0
    assert exit_of_the_first_vote() == 1


def test_tickets_share_a_run_where_that_is_cheaper():
    bag = engine_bag([[10.0]], ((1,),), shrink=0.2)
    of = controller(bag, [0.0])
    scheduler = Scheduler(bag, workers=1)
    for key in range(3):
        scheduler.start(of.tickets[admit(of, key=key)], {})
    assert scheduler.next_run().rows == 3


def test_tickets_do_not_share_a_run_where_that_saves_nothing():
    bag = engine_bag([[10.0]], ((1,),), shrink=1.0)
    of = controller(bag, [0.0])
    scheduler = Scheduler(bag, workers=1)
    for key in range(3):
        scheduler.start(of.tickets[admit(of, key=key)], {})
    assert scheduler.next_run().rows == 1


def test_idle_lanes_share_a_large_batch():
    bag = engine_bag([[1000.0]], ((1,),), shrink=1.0)
    of = controller(bag, [0.0])
    scheduler = Scheduler(bag, workers=3)
    scheduler.start(of.tickets[admit(of, rows=8)], {})
    runs = [scheduler.next_run(idle) for idle in (2, 1, 0)]
    assert sorted(run.rows for run in runs) == [2, 3, 3]
    assert sorted(row for run in runs for row in run.pieces[0].rows.tolist()) == list(range(8))


def test_the_exit_of_a_split_batch_is_due_when_its_last_part_is_done():
    bag = engine_bag([[1000.0]], ((1,),), shrink=1.0)
    of = controller(bag, [0.0])
    scheduler = Scheduler(bag, workers=2)
    scheduler.start(of.tickets[admit(of, rows=8)], {})
    first, second = scheduler.next_run(1), scheduler.next_run(0)
    assert scheduler.done(second) == []
    assert [due.exit_ for due in scheduler.done(first)] == [0]


def test_rows_that_are_answered_and_not_sampled_leave_the_batch():
    bag = engine_bag([[10.0, 10.0]], ((1,), (2,)))
    of = controller(bag, [0.2, 0.0])
    of.decisions.changes.set_finish_probability(1e-9)
    scheduler = Scheduler(bag, workers=1)
    ticket = of.tickets[admit(of, rows=6)]
    scheduler.start(ticket, {})
    (due,) = scheduler.done(scheduler.next_run())
    of.arrived(ticket.id, {(0, 1): votes_of(bag, 6)[0, 1]}, 10)
    scheduler.decided(due.progress, due.exit_)
    stay = np.flatnonzero(ticket.running)
    assert 0 < len(stay) < 6
    assert scheduler.next_run().pieces[0].rows.tolist() == stay.tolist()


def test_a_ticket_without_running_rows_is_dropped():
    bag = engine_bag([[10.0, 10.0]], ((1,), (2,)))
    of = controller(bag, [2.0, 0.0])
    of.decisions.changes.set_finish_probability(1e-9)
    scheduler = Scheduler(bag, workers=1)
    ticket = of.tickets[admit(of)]
    scheduler.start(ticket, {})
    (due,) = scheduler.done(scheduler.next_run())
    of.arrived(ticket.id, {(0, 1): votes_of(bag, 1)[0, 1]}, 10)
    scheduler.decided(due.progress, due.exit_)
    assert not scheduler.tickets and scheduler.next_run() is None


def test_a_failed_ticket_takes_nobody_with_it():
    of = controller(BAG, [2.0, 2.0, 0.0])
    scheduler = Scheduler(BAG, workers=1)
    tickets = [admit(of, key=key) for key in range(3)]
    for ticket in tickets:
        scheduler.start(of.tickets[ticket], {})
    scheduler.drop(tickets[0])
    served = []
    while (run := scheduler.next_run()) is not None:
        served += [piece.progress.ticket.id for piece in run.pieces]
        for due in scheduler.done(run):
            scheduler.decided(due.progress, due.exit_)
    assert set(served) == set(tickets[1:]) and len(served) == 12


def test_a_run_under_way_of_a_dropped_ticket_comes_to_nothing():
    of = controller(BAG, [2.0, 2.0, 0.0])
    scheduler = Scheduler(BAG, workers=1)
    ticket = admit(of)
    scheduler.start(of.tickets[ticket], {})
    run = scheduler.next_run()
    scheduler.drop(ticket)
    assert scheduler.done(run) == [] and scheduler.next_run() is None


def test_an_answer_by_deadline_turns_the_rest_into_feedback():
    of = controller(BAG, [0.0, 0.0, 0.0])
    scheduler = Scheduler(BAG, workers=1)
    late, other = admit(of, key="late", deadline_us=5, hurries=True), admit(of, key="other")
    scheduler.start(of.tickets[late], {})
    first = [scheduler.next_run(), scheduler.next_run()]
    due = [item for run in first for item in scheduler.done(run)]
    votes = votes_of(BAG, 1)
    of.arrived(late, {(0, 1): votes[0, 1], (1, 1): votes[1, 1]}, 3)
    scheduler.decided(due[0].progress, due[0].exit_)
    scheduler.start(of.tickets[other], {})
    (release,) = of.tick(6)
    assert release.answer.reason[0] == Reason.DEADLINE
    assert scheduler.next_run().pieces[0].progress.ticket.id == other


def test_a_queue_under_lasting_load_does_not_keep_what_is_over():
    of = controller(BAG, [2.0, 2.0, 0.0])
    of.decisions.changes.set_finish_probability(1e-9)
    simulation = Simulation(of, 2, lambda ticket: votes_of(BAG, ticket.rows, 1))
    simulation.run([(0.0, Request(key, 1)) for key in range(400)])
    assert sum(map(len, simulation.scheduler._queue._heaps)) < 200


def test_a_ticket_that_is_over_is_freed_without_waiting_for_the_garbage_collector():
    of = controller(BAG, [0.0, 0.0, 0.0])
    scheduler = Scheduler(BAG, workers=1)
    dropped = admit(of)
    scheduler.start(of.tickets[dropped], {})
    progress = weakref.ref(scheduler.tickets[dropped])
    gc.collect()
    gc.disable()
    try:
        scheduler.drop(dropped)
        assert scheduler.next_run() is None  # lets go of what the queue had
        assert progress() is None
    finally:
        gc.enable()


def test_more_lanes_never_answer_later_on_an_empty_machine():
    answered = []
    for workers in (1, 2, 3):
        of = Controller(BAG, FixedThresholds(BAG, [0.0, 0.0, 0.0]), np.random.default_rng(0))
        simulation = Simulation(of, workers, lambda ticket: votes_of(BAG, ticket.rows, 1))
        simulation.run([(0.0, Request("a", 1))])
        answered.append(simulation.releases[0][0])
    assert answered == [31_000, 17_000, 12_000]


def test_a_short_plain_ticket_is_one_workers_and_offers_nothing_to_others():
    bag = engine_bag([[10.0, 10.0], [10.0], [10.0]], ((1, 0, 0), (2, 1, 1)))
    of = controller(bag, [0.0, 0.0])
    scheduler = Scheduler(bag, workers=3)
    scheduler.start(of.tickets[admit(of, rows=8, never=True)], {})
    for member in range(3):
        assert scheduler.ready_pieces == 1
        run = scheduler.next_run(idle_workers=2)
        assert (run.member, run.rows, run.end) == (member, 8, bag.members[member].depth)
        assert scheduler.ready_pieces == 0 and scheduler.next_run(idle_workers=1) is None
        dues = scheduler.done(run)
    assert [due.exit_ for due in dues] == [1]


def test_work_is_counted_by_the_profile_and_full_feedback_is_all_of_it():
    simulation = Simulation(controller(BAG, [2.0, 2.0, 0.0]), 2, lambda ticket: votes_of(BAG, ticket.rows, ticket.id))
    simulation.run([(0.0, Request("a", 1))])
    counters = simulation.scheduler.counters
    assert counters.work_us == counters.full_work_us == sum(sum(s.cost_us[1] for s in m.segments) for m in BAG.members)


@pytest.mark.parametrize(("in_parts", "workers_of_the_first_exit"), [(True, {0, 1}), (False, {0})])
def test_rows_that_leave_one_by_one_are_worked_on_by_all_before_anybody_works_ahead(
    in_parts, workers_of_the_first_exit
):
    bag = dataclasses.replace(engine_bag([[100.0], [100.0]], ((1, 0), (1, 1))), slowdown=(1.0, 1.6))
    simulation = Simulation(controller(bag, [1.1, 0.0]), 2, lambda ticket: votes_of(bag, ticket.rows, 1))
    simulation.scheduler.orders.leaving[False] = [0.9, 1.0]
    simulation.run([(0.0, Request("a", 8, in_parts=in_parts))])
    assert {ran.worker for ran in simulation.ran if ran.member == 0} == workers_of_the_first_exit
