"""The controller: tickets, votes, and who leaves where."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.contract import Reason
from exeunt.deciding import votes as voting
from exeunt.deciding.request import Request
from exeunt.errors import OverloadedError, RequestError
from tests.deciding.controller_bag import admit, at_exit, controller, manifest, run, thresholds_of, votes_of

EVERYBODY = [1.1, 1.1, 0.0]


NOBODY = [0.0, 0.0, 0.0]


def full_vote(bag, votes):
    return voting.vote([votes[m, member.depth] for m, member in enumerate(bag.members)], bag.weights, bag.vote)


def test_with_thresholds_0_every_answer_is_the_full_vote_at_the_last_exit():
    bag = manifest()
    votes = votes_of(bag, rows=5)
    of = controller(bag, NOBODY)
    (release,) = run(of, admit(of, rows=5), votes)
    np.testing.assert_array_equal(release.answer.probabilities, full_vote(bag, votes))
    assert (release.answer.exit == 2).all() and (release.answer.reason == Reason.FULL).all()


def test_with_thresholds_1_every_answer_leaves_at_exit_0_with_its_vote():
    bag = manifest()
    votes = votes_of(bag, rows=5)
    of = controller(bag, EVERYBODY)
    (release,) = of.arrived(admit(of, rows=5), at_exit(bag, 0, votes), 700)
    expected = voting.vote([votes[0, 1], votes[1, 1], votes[2, 1]], [1, 1, 1])
    np.testing.assert_array_equal(release.answer.probabilities, expected)
    assert (release.answer.exit == 0).all() and (release.answer.reason == Reason.EARLY).all()
    assert release.latency_us == 700


def test_a_threshold_of_0_keeps_even_a_row_of_confidence_1():
    bag = manifest()
    votes = {pair: np.eye(4, dtype=np.float32)[[0]] for pair in votes_of(bag, 1)}
    of = controller(bag, NOBODY)
    assert of.arrived(admit(of), at_exit(bag, 0, votes), 1) == []


@settings(max_examples=60, deadline=None)
@given(order=st.permutations(range(3)), seed=st.integers(0, 999), rows=st.integers(1, 8))
def test_each_request_is_released_once_whatever_the_order_of_arrival(order, seed, rows):
    bag = manifest()
    of = controller(bag, [0.4, 0.5, 0.0])
    ticket, votes = admit(of, rows), votes_of(bag, rows, seed)
    releases = run(of, ticket, votes, order) + run(of, ticket, votes, order)  # and again: arrivals are idempotent
    assert len(releases) == 1 and of.idle
    assert sum(len(batch) for batch in thresholds_of(of).learnt) == rows


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), rows=st.integers(2, 8))
def test_an_answer_does_not_depend_on_batch_mates(seed, rows):
    bag = manifest()
    votes = votes_of(bag, rows, seed)
    of = controller(bag, [0.3, 0.5, 0.0])
    (together,) = run(of, admit(of, rows), votes)
    for row in range(rows):
        alone = controller(bag, [0.3, 0.5, 0.0])
        (release,) = run(alone, admit(alone), {pair: p[[row]] for pair, p in votes.items()})
        assert release.answer.exit[0] == together.answer.exit[row]
        np.testing.assert_array_equal(release.answer.probabilities[0], together.answer.probabilities[row])


def test_a_vote_that_was_overtaken_by_a_deeper_one_only_teaches():
    bag = manifest()
    of = controller(bag, [1.1, 0.0, 0.0])
    ticket, votes = admit(of), votes_of(bag, 1)
    assert of.arrived(ticket, at_exit(bag, 1, votes), 1) == []
    assert of.arrived(ticket, at_exit(bag, 0, votes), 2) == []
    (release,) = of.arrived(ticket, at_exit(bag, 2, votes), 3)
    assert release.answer.reason[0] == Reason.FULL
    order = thresholds_of(of).learnt[0].order[0]
    assert order[1] < order[0] < order[2]


def test_votes_may_come_member_by_member_and_a_late_member_holds_back_only_its_own_exits():
    bag = manifest()
    votes = votes_of(bag, 1)
    of = controller(bag, EVERYBODY)
    ticket = admit(of)
    assert of.arrived(ticket, {(0, 1): votes[0, 1]}, 1) == []
    assert of.arrived(ticket, {(1, 1): votes[1, 1]}, 2) == []
    (release,) = of.arrived(ticket, {(2, 1): votes[2, 1]}, 3)
    assert release.answer.exit[0] == 0


def test_a_request_waits_for_its_slowest_row_and_rows_keep_their_own_exits():
    bag = manifest()
    votes = votes_of(bag, 2)
    sure, torn = np.eye(4, dtype=np.float32)[0], np.full(4, 0.25, dtype=np.float32)
    for pair in votes:
        votes[pair][:] = [sure, torn]
    of = controller(bag, [0.5, 0.5, 0.0])
    (release,) = run(of, admit(of, rows=2), votes)
    assert release.answer.exit.tolist() == [0, 2]
    assert release.latency_us == 3000


def test_requests_are_merged_whole_up_to_the_batch_limit_in_order_of_arrival():
    of = controller(manifest(), NOBODY)
    for key, rows in (("a", 3), ("b", 5), ("c", 1)):
        of.offer(Request(key, rows), 0)
    first, second = of.next_ticket(), of.next_ticket()
    assert [request.key for request in first.requests] == ["a", "b"]
    assert [request.key for request in second.requests] == ["c"]


def test_merged_requests_get_their_own_rows_back():
    bag = manifest()
    of = controller(bag, EVERYBODY)
    of.offer(Request("a", 2), 0)
    of.offer(Request("b", 3), 0)
    votes = votes_of(bag, 5)
    ticket = of.next_ticket()
    a, b = of.arrived(ticket.id, at_exit(bag, 0, votes), 1)
    whole = voting.vote([votes[0, 1], votes[1, 1], votes[2, 1]], [1, 1, 1])
    np.testing.assert_array_equal(a.answer.probabilities, whole[:2])
    np.testing.assert_array_equal(b.answer.probabilities, whole[2:])


def test_no_more_tickets_than_allowed_are_in_flight():
    bag = manifest(max_tickets=1)
    of = controller(bag, EVERYBODY)
    ticket = admit(of)
    of.offer(Request("b", 1), 0)
    assert of.next_ticket() is None
    run(of, ticket, votes_of(bag, 1))
    assert of.next_ticket() is not None


def test_beyond_the_waiting_limit_newcomers_are_refused():
    of = controller(manifest(max_waiting_rows=4), NOBODY)
    of.offer(Request("a", 4), 0)
    with pytest.raises(OverloadedError, match="max_waiting_rows 4"):
        of.offer(Request("b", 1), 0)
    assert of.counters.refused == 1


@pytest.mark.parametrize("rows", [0, 9])
def test_a_request_that_fits_no_ticket_is_refused(rows):
    with pytest.raises(RequestError, match=f"expected 1 to 8 rows, got {rows}"):
        controller(manifest(), NOBODY).offer(Request("a", rows), 0)


def test_the_wish_never_waits_for_the_full_vote_even_where_it_is_certain():
    bag = manifest(lossless=True)
    votes = {pair: np.eye(4, dtype=np.float32)[[0]] for pair in votes_of(bag, 1)}
    of = controller(bag, EVERYBODY)
    (release,) = run(of, admit(of, never=True), votes)
    assert release.answer.reason[0] == Reason.FULL
    assert not thresholds_of(of).answered_batches[0].counted.any()


def test_a_row_with_nan_never_leaves_early_and_teaches_nothing():
    bag = manifest(lossless=True)
    of = controller(bag, EVERYBODY)
    of.offer(Request("a", 2, nan_rows=np.array([True, False])), 0)
    (release,) = run(of, of.next_ticket().id, votes_of(bag, 2))
    assert release.answer.exit.tolist() == [2, 0]
    assert [len(batch) for batch in thresholds_of(of).learnt] == [1]
    assert sum(int(batch.counted.sum()) for batch in thresholds_of(of).answered_batches) == 1


def test_a_member_that_gives_nan_does_not_vote_on_that_row():
    bag = manifest()
    votes = votes_of(bag, 2)
    votes[1, 3][0] = np.nan
    of = controller(bag, NOBODY)
    (release,) = run(of, admit(of, rows=2), votes)
    expected = voting.vote([votes[0, 2][:1], votes[2, 2][:1]], [1, 1])
    np.testing.assert_allclose(release.answer.probabilities[:1], expected, rtol=1e-6)


def test_where_every_member_gives_nan_the_label_is_minus_1():
    bag = manifest()
    votes = {pair: np.full((1, 4), np.nan, dtype=np.float32) for pair in votes_of(bag, 1)}
    of = controller(bag, EVERYBODY)
    (release,) = run(of, admit(of), votes)
    assert release.answer.label.tolist() == [-1] and release.answer.reason[0] == Reason.FULL


def test_max_risk_keeps_a_row_that_is_riskier_than_its_caller_wishes():
    bag = manifest(confidence="max_probability")
    torn = {pair: np.array([[0.4, 0.2, 0.2, 0.2]], dtype=np.float32) for pair in votes_of(bag, 1)}
    of = controller(bag, EVERYBODY)
    (release,) = run(of, admit(of, max_risk=0.5), torn)
    assert release.answer.reason[0] == Reason.FULL
    of = controller(bag, EVERYBODY)
    (release,) = run(of, admit(of, max_risk=0.7), torn)
    assert release.answer.reason[0] == Reason.EARLY and release.answer.risk[0] == pytest.approx(0.6)
