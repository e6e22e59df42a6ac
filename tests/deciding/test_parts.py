"""Requests that are answered in parts: rows are released as they leave, each exactly once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from exeunt.deciding.request import ParsedOptions, Request
from exeunt.errors import ServingError
from tests.deciding.controller_bag import at_exit, controller, manifest, votes_of

EXITS = len(manifest().exits)


def offered(of, rows, nan_rows=None, options=None):
    request = Request("a", rows, options or ParsedOptions(), nan_rows, in_parts=True)
    of.offer(request, 0)
    return of.next_ticket(0, 0)


def test_rows_that_leave_are_released_before_those_that_stay():
    bag = manifest()
    of = controller(bag, [1.1] * (EXITS - 1))
    stays = np.array([False, True, False, True])
    ticket = offered(of, 4, nan_rows=stays)
    votes = votes_of(bag, 4)
    (first,) = of.arrived(ticket.id, at_exit(bag, 0, votes), 10)
    assert (first.rows.tolist(), first.last) == ([0, 2], False)
    released = [part for exit_ in range(1, EXITS) for part in of.arrived(ticket.id, at_exit(bag, exit_, votes), 20)]
    assert [part.rows.tolist() for part in released] == [[1, 3]] and released[0].last


def test_a_run_that_fails_is_told_after_the_rows_that_were_answered():
    bag = manifest()
    of = controller(bag, [1.1] * (EXITS - 1))
    ticket = offered(of, 2, nan_rows=np.array([False, True]))
    of.arrived(ticket.id, at_exit(bag, 0, votes_of(bag, 2)), 10)
    (end,) = of.failed(ticket.id, ServingError("broken"), 20)
    assert end.last and isinstance(end.error, ServingError)


def test_a_request_in_parts_counts_as_one():
    bag = manifest()
    of = controller(bag, [1.1] * (EXITS - 1))
    ticket = offered(of, 2, nan_rows=np.array([False, True]))
    for exit_ in range(EXITS):
        of.arrived(ticket.id, at_exit(bag, exit_, votes_of(bag, 2)), 10)
    assert of.counters.requests.sum() == 1


@given(st.data())
def test_every_row_is_released_once_with_the_answer_that_a_whole_release_has(data):
    bag = manifest()
    rows = data.draw(st.integers(1, 8))
    nan_rows = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    thresholds = data.draw(st.lists(st.sampled_from([0.0, 0.3, 1.1]), min_size=EXITS - 1, max_size=EXITS - 1))
    votes = votes_of(bag, rows, seed=data.draw(st.integers(0, 5)))
    labels = {}
    for in_parts in (False, True):
        of = controller(bag, thresholds)
        of.offer(Request("a", rows, nan_rows=nan_rows, in_parts=in_parts), 0)
        ticket = of.next_ticket(0, 0)
        parts = [part for exit_ in range(EXITS) for part in of.arrived(ticket.id, at_exit(bag, exit_, votes), exit_)]
        assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
        released_rows = np.concatenate([np.arange(rows) if part.rows is None else part.rows for part in parts])
        assert sorted(released_rows.tolist()) == list(range(rows))
        answers = np.concatenate([part.answer.label for part in parts])
        labels[in_parts] = answers[np.argsort(released_rows)].tolist()
    assert labels[True] == labels[False]
