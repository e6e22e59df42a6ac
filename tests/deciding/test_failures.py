"""What a failed run costs: its own rows, and nobody else's."""

import numpy as np
import pytest

from exeunt.contract import Reason
from exeunt.deciding.request import Request
from exeunt.errors import ServingError
from tests.deciding.controller_bag import admit, at_exit, controller, manifest, run, thresholds_of, votes_of

BOOM = ServingError("boom")
BAG = manifest(shadow_share=0.0)


def two_requests(of, rows=(2, 3), **options):
    for key, count in zip("ab", rows, strict=True):
        of.offer(Request(key, count, **options), 0)
    return of.next_ticket()


def test_only_the_requests_whose_rows_failed_get_the_error():
    of = controller(BAG, [0.0, 0.0, 0.0])
    ticket = two_requests(of)
    (failed,) = of.failed(ticket.id, BOOM, 10, rows=np.array([0, 1]))
    assert failed.key == "a" and failed.error is BOOM
    votes = {pair: array[2:] for pair, array in at_exit(BAG, 2, votes_of(BAG, 5)).items()}
    (answered,) = of.arrived(ticket.id, votes, 20, rows=np.array([2, 3, 4]))
    assert answered.key == "b" and (answered.answer.reason == Reason.FULL).all()
    assert of.idle


def test_early_rows_of_the_requests_that_did_not_fail_are_confirmed():
    of = controller(BAG, [2.0, 0.0, 0.0])
    ticket = two_requests(of)
    votes = votes_of(BAG, 5)
    of.arrived(ticket.id, at_exit(BAG, 0, votes), 10)
    of.failed(ticket.id, BOOM, 20, rows=np.array([0, 1]))
    of.arrived(ticket.id, {p: v[2:] for p, v in at_exit(BAG, 2, votes).items()}, 30, rows=np.array([2, 3, 4]))
    assert sum(len(answered.reason) for answered in thresholds_of(of).lost) == 2
    assert sum(len(feedback) for feedback in thresholds_of(of).learnt) == 3


def test_after_a_failed_run_nobody_leaves_on_trust_until_a_full_vote_has_come():
    of = controller(BAG, [2.0, 2.0, 0.0])
    of.failed(admit(of), BOOM, 10)
    assert of.active().tolist() == [False, False, True]
    votes = votes_of(BAG, 1)
    (release,) = run(of, admit(of, key="b"), votes)
    assert release.answer.reason.tolist() == [Reason.FULL]
    assert of.active().tolist() == [True, True, True]


def test_where_the_best_vote_answers_a_member_that_stays_dead_costs_the_full_vote_only():
    bag = manifest(shadow_share=0.0, on_failure="best_vote")
    of = controller(bag, [2.0, 2.0, 0.0])
    votes = votes_of(bag, 1)
    of.failed(admit(of), BOOM, 10)
    for key in "bc":
        ticket = admit(of, key=key, never=key == "c")
        assert of.arrived(ticket, at_exit(bag, 0, votes), 20) == []  # nobody leaves on trust
        (release,) = of.failed(ticket, BOOM, 30)
        assert release.answer.reason.tolist() == [Reason.DEGRADED] and release.answer.exit.tolist() == [0]


@pytest.mark.parametrize("order", [("a", "b", "a"), ("b", "a", "a")])
def test_only_requests_of_equal_free_dimensions_share_a_ticket(order):
    of = controller(BAG, [0.0, 0.0, 0.0])
    for key, free in enumerate(order):
        of.offer(Request(key, 1, free_dims=free), 0)
    first, second = of.next_ticket(), of.next_ticket()
    assert {request.free_dims for request in first.requests} == {order[0]}
    assert {request.free_dims for request in second.requests} == {"b" if order[0] == "a" else "a"}
    assert [request.key for request in first.requests] == [key for key, free in enumerate(order) if free == order[0]]
