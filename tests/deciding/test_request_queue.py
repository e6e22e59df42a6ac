"""Who waits, who is refused, and whose turn it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.deciding.request import ParsedOptions, Request
from exeunt.deciding.request_queue import GIVE_UP, IN_USE_US, RequestQueue
from exeunt.errors import OverloadedError

BATCH = 8


def request(key: object, rows: int = 1, service_class: int = 0, free_dims: object = None, **options: int) -> Request:
    return Request(key, rows, ParsedOptions(service_class=service_class, **options), free_dims=free_dims)


def fill(queue: RequestQueue, count: int, now_us: int, service_class: int = 0, rows: int = 1) -> int:
    """Offer so many requests; how many were taken in."""
    taken_in = 0
    for _ in range(count):
        try:
            queue.offer(request(object(), rows, service_class), now_us)
            taken_in += 1
        except OverloadedError:
            pass
    return taken_in


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(1, BATCH), st.integers(0, 2), st.sampled_from(["a", "b"])),
        st.tuples(st.just("take"), st.sampled_from([None, 1, 2])),
        st.tuples(st.just("wait"), st.sampled_from([0, 10, 900, 5000])),
        st.tuples(st.just("look")),
    ),
    max_size=80,
)


@given(STEPS, st.booleans())
@settings(max_examples=300, deadline=None)
def test_every_request_is_answered_in_exactly_one_way(steps: list, bounded: bool) -> None:
    queue = RequestQueue(BATCH, 40, 1000.0 if bounded else 1e15, classes=3)
    now_us = offered = refused = 0
    out: list[object] = []
    for name, *values in steps:
        if name == "offer":
            rows, service_class, free = values
            try:
                queue.offer(request(offered, rows, service_class, free), now_us)
                offered += 1
            except OverloadedError:
                refused += 1
        elif name == "take":
            tickets = queue.take(now_us, values[0])
            assert sum(ticket.rows for ticket in tickets) <= BATCH
            assert len({ticket.free_dims for ticket in tickets}) <= 1
            assert [ticket.row_slice.start for ticket in tickets] == np.cumsum([0, *(e.rows for e in tickets)])[
                :-1
            ].tolist()
            out += [ticket.key for ticket in tickets]
        elif name == "look":
            out += [request_.key for request_ in queue.given_up(now_us)]
        else:
            now_us += values[0]
        assert queue.waiting_rows == sum(request_.rows for request_ in queue.requests()) <= 40
    out += [request_.key for request_ in queue.clear()]
    assert sorted(out) == list(range(offered))
    assert (queue.waiting_rows, len(queue)) == (0, 0)


@given(st.lists(st.integers(1, BATCH), min_size=1, max_size=30))
def test_one_class_is_served_in_order_of_arrival(rows: list[int]) -> None:
    queue = RequestQueue(BATCH, 1000)
    for key, count in enumerate(rows):
        queue.offer(request(key, count), now_us=key)
    served: list[object] = []
    while len(queue):
        served += [request_.key for request_ in queue.take(now_us=100)]
    assert served == list(range(len(rows)))


@given(st.lists(st.integers(1, BATCH), min_size=40, max_size=40), st.integers(1, BATCH))
@settings(deadline=None)
def test_classes_that_wait_are_served_the_same_number_of_rows(flood: list[int], polite: int) -> None:
    queue = RequestQueue(BATCH, 10_000, classes=2)
    for rows in flood:
        queue.offer(request(object(), rows, 1), 0)
    for _ in range(40):
        queue.offer(request(object(), polite, 0), 0)
    served = [0, 0]
    while all(any(r.options.service_class == c for r in queue.requests()) for c in (0, 1)):
        for request_ in queue.take(0):
            served[request_.options.service_class] += request_.rows
        assert abs(served[0] - served[1]) <= 2 * BATCH


def test_a_flood_of_one_class_leaves_room_and_turns_to_another() -> None:
    queue = RequestQueue(BATCH, 100, classes=2)
    queue.offer(request("here before", 1, 0), 0)
    queue.take(0)
    assert fill(queue, 1000, 1, service_class=1) == 50
    assert fill(queue, 1000, 2, service_class=0) == 50
    assert {request_.options.service_class for request_ in queue.take(3)} == {0, 1}


def test_a_class_that_is_alone_has_all_the_room() -> None:
    queue = RequestQueue(BATCH, 100, classes=2)
    queue.offer(request("gold", 1, 1), 0)
    queue.take(0)
    assert fill(queue, 1000, IN_USE_US + 1) == 100


def test_a_class_that_was_away_has_saved_up_no_turns() -> None:
    queue = RequestQueue(1, 1000, classes=2)
    fill(queue, 50, 0)
    for _ in range(20):
        queue.take(0)
    fill(queue, 30, 0, service_class=1)
    turns = [request_.options.service_class for _ in range(20) for request_ in queue.take(0)]
    assert 9 <= sum(turns) <= 11


def backlogged(max_wait_us: float = 10_000.0) -> tuple[RequestQueue, int]:
    """A queue that begins one row per millisecond, and the time."""
    queue = RequestQueue(1, 10_000, max_wait_us)
    fill(queue, 6, 0)
    for now_us in range(1000, 200_000, 1000):
        queue.take(now_us)
        fill(queue, 1, now_us)
    return queue, now_us


def test_a_newcomer_that_cannot_be_begun_in_time_is_refused_at_once() -> None:
    queue, now_us = backlogged()
    taken_in = fill(queue, 100, now_us)
    assert queue.waiting_rows == pytest.approx(11, abs=1)  # ten milliseconds' work
    assert 0 < taken_in < 10
    with pytest.raises(OverloadedError, match=r"it would wait 1\d ms \(max_wait_ms 10\)"):
        queue.offer(request("late"), now_us)


def test_nobody_is_refused_for_time_while_nobody_waits_or_nothing_is_known() -> None:
    queue = RequestQueue(1, 10_000, 10.0)
    assert fill(queue, 500, 0) == 500
    queue, now_us = backlogged()
    while queue.take(now_us):
        pass
    queue.offer(request("after"), now_us + 10**9)


def test_in_a_stall_newcomers_are_refused_soon() -> None:
    queue, now_us = backlogged()
    assert fill(queue, 1, now_us) == 1
    assert fill(queue, 1, now_us + 2_000_000) == 0


def test_after_a_stall_the_newest_are_served_first() -> None:
    queue = RequestQueue(1, 1000, 10_000.0)
    for key in range(5):
        queue.offer(request(key), now_us=key)
    queue.offer(request("new"), now_us=15_000)
    order = [request_.key for _ in range(6) for request_ in queue.take(15_000)]
    assert order == ["new", 4, 3, 2, 1, 0]


def test_what_has_waited_twice_as_long_as_it_may_is_given_up() -> None:
    queue = RequestQueue(1, 1000, 10_000.0)
    queue.offer(request("old"), now_us=0)
    queue.offer(request("new"), now_us=15_000)
    assert queue.given_up(int(GIVE_UP * 10_000)) == []
    assert [request_.key for request_ in queue.given_up(int(GIVE_UP * 10_000) + 1)] == ["old"]
    assert [request_.key for request_ in queue.requests()] == ["new"]


def test_deadlines_are_known_and_passed() -> None:
    queue = RequestQueue(1, 1000)
    assert queue.next_deadline_us() is None
    queue.offer(request("patient"), 5)
    queue.offer(request("hasty", deadline_us=10, hurries=True), 5)
    assert queue.next_deadline_us() == 15
    assert queue.overdue(14) == []
    assert [request_.key for request_ in queue.overdue(15)] == ["hasty"]
    assert queue.next_deadline_us() is None


def test_polite_callers_wait_no_longer_than_the_bound_during_a_storm_of_another_class() -> None:
    """Service of a row per millisecond; a storm of ten times that, and polite callers of a fifth of it."""
    queue = RequestQueue(1, 4096, 50_000.0, classes=2)
    waits, refused, polite = [], 0, 0
    for now_us in range(0, 3_000_000, 1000):
        fill(queue, 10, now_us, service_class=1)
        if now_us % 5000 == 0:
            polite += 1
            refused += 1 - fill(queue, 1, now_us, service_class=0)
        queue.given_up(now_us)
        waits += [
            now_us - request_.arrived_us for request_ in queue.take(now_us) if request_.options.service_class == 0
        ]
    assert refused == 0
    assert max(waits) <= 10_000
    assert len(waits) >= polite - 1


def test_time_in_which_nobody_waits_is_no_service_time_though_those_who_waited_left_unbegun() -> None:
    queue = RequestQueue(1, 100, 50_000.0)
    leaver = Request("gone", 1)
    queue.offer(leaver, 0)
    queue.withdraw(leaver)
    for now_us in (60_000_000, 60_001_000):  # a minute later a row takes a millisecond
        queue.offer(Request(now_us, 1), now_us)
    assert queue.take(60_001_000) and len(queue) == 1
    queue.offer(Request("newcomer", 1), 60_001_000)  # is not told that it would wait for a minute
