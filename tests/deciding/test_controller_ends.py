"""The controller: lossless stops, deadlines, failures, exits that are off, and what is counted."""

import numpy as np
import pytest

from exeunt.contract import Reason
from exeunt.deciding.request import ParsedOptions, Request
from exeunt.errors import OverloadedError, ServingError
from tests.deciding.controller_bag import admit, at_exit, controller, manifest, run, thresholds_of, votes_of
from tests.deciding.test_controller import EVERYBODY, NOBODY


def test_the_lossless_stop_releases_what_missing_members_cannot_change():
    bag = manifest(depths=((1, 1, 1), (2, 2, 1), (2, 2, 2)), lossless=True)
    votes = {pair: np.eye(4, dtype=np.float32)[[1]] for pair in votes_of(bag, 1)}
    of = controller(bag, NOBODY)
    ticket = admit(of)
    assert of.arrived(ticket, at_exit(bag, 0, votes), 1) == []
    (release,) = of.arrived(ticket, at_exit(bag, 1, votes), 2)
    assert release.answer.reason[0] == Reason.LOSSLESS and release.answer.risk[0] == 0


def test_a_deadline_releases_the_best_vote_so_far_marked_and_outside_the_promise():
    bag = manifest()
    of = controller(bag, NOBODY)
    votes = votes_of(bag, 1)
    ticket = admit(of, now_us=100, deadline_us=5000, hurries=True)
    of.arrived(ticket, at_exit(bag, 0, votes), 200)
    assert of.next_deadline_us() == 5100 and of.tick(5099) == []
    (release,) = of.tick(5100)
    assert release.answer.reason[0] == Reason.DEADLINE and release.answer.exit[0] == 0
    assert not thresholds_of(of).answered_batches[0].counted.any()
    assert run(of, ticket, votes) == [] and of.idle


def test_a_deadline_before_any_vote_is_unavailable():
    of = controller(manifest(), NOBODY)
    ticket = admit(of, deadline_us=10, hurries=True)
    (release,) = of.tick(11)
    assert isinstance(release.error, OverloadedError) and "deadline_ms" in str(release.error)
    assert run(of, ticket, votes_of(of.manifest, 1)) == [] and of.idle


def test_a_deadline_also_runs_while_a_request_waits():
    of = controller(manifest(), NOBODY)
    of.offer(Request("a", 1, options=ParsedOptions(deadline_us=10, hurries=True)), 0)
    (release,) = of.tick(10)
    assert isinstance(release.error, OverloadedError) and of.idle


def test_a_failure_reaches_the_waiting_clients_and_counts_early_rows_as_lost():
    bag = manifest()
    votes = votes_of(bag, 2)
    of = controller(bag, EVERYBODY)
    of.offer(Request("a", 1), 0)
    of.offer(Request("b", 1, nan_rows=np.array([True])), 0)
    ticket = of.next_ticket().id
    (a,) = of.arrived(ticket, at_exit(bag, 0, votes), 1)
    (b,) = of.failed(ticket, ServingError("bag_m1_s2: boom"), 2)
    assert a.key == "a" and b.key == "b" and "boom" in str(b.error)
    assert of.idle and len(thresholds_of(of).lost) == 1 and of.counters.abandoned_rows == 1


def test_where_configured_a_failure_releases_the_best_vote_marked_degraded():
    bag = manifest(on_failure="best_vote")
    of = controller(bag, NOBODY)
    ticket = admit(of)
    of.arrived(ticket, at_exit(bag, 0, votes_of(bag, 1)), 1)
    (release,) = of.failed(ticket, ServingError("boom"), 2)
    assert release.answer.reason[0] == Reason.DEGRADED
    assert not thresholds_of(of).answered_batches[0].counted.any()


def test_a_closed_controller_refuses_newcomers_and_finishes_the_rest():
    bag = manifest()
    of = controller(bag, NOBODY)
    ticket = admit(of)
    of.close()
    with pytest.raises(OverloadedError, match="stopping"):
        of.offer(Request("b", 1), 0)
    assert len(run(of, ticket, votes_of(bag, 1))) == 1 and of.idle


def test_giving_up_answers_everybody_who_is_left():
    of = controller(manifest(), NOBODY)
    admit(of)
    of.offer(Request("b", 1), 0)
    assert [item.key for item in of.give_up(5)] == ["b", "a"] and of.idle


def test_an_inactive_exit_is_not_asked_for_and_nobody_leaves_there():
    bag = manifest()
    of = controller(bag, EVERYBODY, active=[False, True, True])
    of.offer(Request("a", 1), 0)
    ticket = of.next_ticket()
    assert ticket.requested_exits.tolist() == [False, True, True]
    assert of.arrived(ticket.id, at_exit(bag, 0, votes_of(bag, 1)), 1) == []


def test_shadow_tickets_ask_for_every_tap_at_the_configured_share():
    bag = manifest(shadow_share=0.25, max_tickets=4000)
    of = controller(bag, EVERYBODY, active=[False, True, True])
    for number in range(2000):
        admit(of, key=number)
    assert of.counters.shadow_tickets / 2000 == pytest.approx(0.25, abs=0.03)


def test_a_shadowed_exit_teaches_but_lets_nobody_leave():
    bag = manifest(shadow_share=1.0)
    of = controller(bag, EVERYBODY, active=[False, True, True])
    (release,) = run(of, admit(of), votes_of(bag, 1))
    assert release.answer.exit[0] == 1
    assert np.isfinite(thresholds_of(of).learnt[0].confidence).all()


def test_the_kill_switch_sends_everybody_to_the_full_vote():
    bag = manifest()
    of = controller(bag, EVERYBODY)
    of.decisions.changes.set_exits_off(np.array([True, True, True]))
    (release,) = run(of, admit(of), votes_of(bag, 1))
    assert release.answer.exit[0] == 2


def test_rows_not_chosen_to_finish_end_the_ticket_early_and_teach_nothing():
    bag = manifest()
    of = controller(bag, EVERYBODY)
    of.decisions.changes.set_finish_probability(1e-9)
    (release,) = of.arrived(admit(of), at_exit(bag, 0, votes_of(bag, 1)), 1)
    assert release.answer is not None and of.idle
    assert thresholds_of(of).learnt == [] and not thresholds_of(of).answered_batches[0].finishes[0]
    assert thresholds_of(of).lost == []


def test_sampled_feedback_knows_its_probability():
    bag = manifest()
    of = controller(bag, EVERYBODY)
    of.decisions.changes.set_finish_probability(0.25)
    for number in range(800):
        run(of, admit(of, key=number), votes_of(bag, 1))
    learnt = thresholds_of(of).learnt
    assert len(learnt) / 800 == pytest.approx(0.25, abs=0.05)
    assert all(batch.q[0] == np.float32(0.25) for batch in learnt)


def test_votes_on_running_rows_alone_are_enough():
    bag = manifest()
    of = controller(bag, [0.5, 0.0, 0.0])
    votes = votes_of(bag, 2)
    sure, torn = np.eye(4, dtype=np.float32)[0], np.full(4, 0.25, dtype=np.float32)
    for pair in votes:
        votes[pair][:] = [sure, torn]
    of.decisions.changes.set_finish_probability(1e-9)
    ticket = admit(of, rows=2)
    of.arrived(ticket, at_exit(bag, 0, votes), 1)
    assert of.tickets[ticket].running.tolist() == [False, True]
    rest = {pair: p[[1]] for pair, p in votes.items()}
    of.arrived(ticket, at_exit(bag, 1, rest), 2, rows=np.array([1]))
    (release,) = of.arrived(ticket, at_exit(bag, 2, rest), 3, rows=np.array([1]))
    assert release.answer.exit.tolist() == [0, 2] and len(thresholds_of(of).learnt[0]) == 1


def test_only_rows_under_the_promise_are_tallied_as_promised():
    bag = manifest()
    of = controller(bag, EVERYBODY)
    run(of, admit(of, rows=2), votes_of(bag, 2))
    run(of, admit(of, rows=3, key="b", never=True), votes_of(bag, 3))
    of.offer(Request("c", 2, nan_rows=np.array([True, False])), 0)
    run(of, of.next_ticket().id, votes_of(bag, 2))
    assert of.counters.answers.sum() == 7 and of.counters.promised_rows == 3
