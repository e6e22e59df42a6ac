"""Which call of NAME_bag comes next."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.bag_stages import BagStages
from exeunt.contract import Reason
from exeunt.hosting.calls.stage_queue import StageQueue, TicketWork
from tests.deciding.controller_bag import manifest, ticket_of

BAG = manifest(depths=((1, 0, 0), (1, 1, 0), (1, 1, 1)))
STAGES = BagStages(BAG)
WANTED = np.ones(3, dtype=bool)
MOST_ROWS = 8


def work(number, rows=1, width=2):
    ticket = ticket_of(BAG, rows, number)
    return TicketWork(ticket, {"x": np.zeros((rows, width), dtype=np.float32)}, STAGES.calls(WANTED, True))


def answer(one):
    """All rows of a ticket leave at exit 0."""
    ticket = one.ticket
    ticket.freeze(np.flatnonzero(ticket.open), 0, Reason.EARLY, 0.0, 0)


@pytest.fixture
def queue():
    return StageQueue(MOST_ROWS, urgent_backlog=4.0)


def after_first_call(queue, *works):
    """Every ticket's first call is made; all its rows leave; what is left goes back."""
    for one in works:
        queue.add(one)
        call = queue.next()
        answer(one)
        queue.ended(call)
        queue.add(one)


def test_the_oldest_ticket_comes_first(queue):
    for number in (3, 1, 2):
        queue.add(work(number))
    assert [queue.next().works[0].ticket.id for _ in range(3)] == [1, 2, 3]


def test_feedback_waits_while_an_urgent_call_is_under_way(queue):
    after_first_call(queue, work(1))
    queue.add(work(2))
    urgent = queue.next()
    assert queue.next() is None
    queue.ended(urgent)
    assert queue.next().feedback


def test_feedback_of_several_tickets_shares_one_call(queue):
    after_first_call(queue, work(1), work(2), work(3))
    call = queue.next()
    assert [one.ticket.id for one in call.works] == [1, 2, 3]
    assert call.planned.tap_names == ["TAP_1", "TAP_2"]


def test_feedback_of_other_shapes_does_not_share_a_call(queue):
    after_first_call(queue, work(1), work(2, width=3), work(3))
    assert [one.ticket.id for one in queue.next().works] == [1, 3]


def test_a_shared_call_is_no_larger_than_a_batch(queue):
    queue.urgent_backlog = 100.0
    after_first_call(queue, work(1, rows=5), work(2, rows=5), work(3, rows=3))
    assert [one.ticket.id for one in queue.next().works] == [1, 3]


def test_feedback_overtakes_when_too_many_answered_rows_wait(queue):
    queue.urgent_backlog = 100.0
    after_first_call(queue, work(1, rows=5))
    queue.urgent_backlog = 4.0
    queue.add(work(2))
    assert [queue.next().feedback, queue.next().feedback] == [True, False]


def test_waiting_feedback_takes_no_place(queue):
    after_first_call(queue, work(1))
    assert queue.places == 0
    queue.add(work(2))
    queue.next()
    assert queue.places == 1


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.integers(0, 3)), min_size=1, max_size=30))
def test_every_ticket_is_done_and_nothing_is_left_behind(scenes):
    """Tickets of some rows come, leave early or do not, and up to so many calls are under way at a time."""
    queue = StageQueue(MOST_ROWS, urgent_backlog=4.0)
    running, served, early = [], [], {}
    for number, (rows, leaves, ends) in enumerate(scenes):
        early[number] = leaves
        queue.add(work(number, rows))
        while (call := queue.next()) is not None:
            running.append(call)
        for _ in range(min(ends, len(running))):
            served += ended(queue, running.pop(0), early)
    while running or (call := queue.next()) is not None:
        if not running:
            running.append(call)
        served += ended(queue, running.pop(0), early)
    assert sorted(served) == list(range(len(scenes)))
    assert queue.places == 0 and queue.backlog == 0.0


def ended(queue, call, early):
    """End a call; ids of the tickets that are done with it."""
    queue.ended(call)
    if call.feedback:
        return [one.ticket.id for one in call.works]
    (one,) = call.works
    if early[one.ticket.id]:
        answer(one)
    if not one.calls:
        return [one.ticket.id]
    queue.add(one)
    return []
