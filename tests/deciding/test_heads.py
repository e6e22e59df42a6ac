"""Heads that change while tickets are in flight."""

from __future__ import annotations

import numpy as np

from exeunt.contract import Reason
from exeunt.deciding.controller import Controller
from exeunt.deciding.heads import Head, Heads
from exeunt.records.decided import DecidedRows
from exeunt.records.feedback import Feedback
from tests.deciding.controller_bag import admit, at_exit, controller, manifest, run, thresholds_of, votes_of

BAG = manifest()
ALL_LEAVE = [2.0, 2.0, 0.0]
NOTHING = Feedback.observed(np.zeros((0, 3)), np.zeros((0, 3)))
FIRST_EXIT = np.array([True, False, False])


def change(of: Controller, version: int = 1) -> None:
    of.decisions.changes.set_heads(Heads(version), FIRST_EXIT, NOTHING)


def test_a_ticket_keeps_the_heads_it_was_admitted_with() -> None:
    of = controller(BAG, ALL_LEAVE)
    old = of.tickets[admit(of, key="a")]
    change(of)
    new = of.tickets[admit(of, key="b")]
    assert (old.heads.version, new.heads.version) == (0, 1)


def test_nobody_leaves_on_trust_by_a_head_that_is_not_in_use_any_more() -> None:
    of = controller(BAG, ALL_LEAVE)
    old = admit(of, key="a")
    change(of)
    new = admit(of, key="b")
    assert not of.arrived(old, at_exit(BAG, 0, votes_of(BAG, 1)), 1)
    assert of.arrived(new, at_exit(BAG, 0, votes_of(BAG, 1)), 1)


def test_at_exits_that_did_not_change_rows_of_old_tickets_leave_as_ever() -> None:
    of = controller(BAG, ALL_LEAVE)
    old = admit(of)
    change(of)
    of.arrived(old, at_exit(BAG, 0, votes_of(BAG, 1)), 1)
    (release,) = of.arrived(old, at_exit(BAG, 1, votes_of(BAG, 1)), 2)
    assert release.answer is not None
    assert release.answer.exit.tolist() == [1] and release.answer.reason.tolist() == [Reason.EARLY]


def test_what_an_old_ticket_saw_at_a_changed_exit_teaches_nothing() -> None:
    of = controller(BAG, [0.0, 0.0, 0.0])
    old = admit(of, rows=2)
    change(of)
    run(of, old, votes_of(BAG, 2))
    (learnt,) = thresholds_of(of).learnt
    assert (learnt.labels[:, 0] == -1).all() and np.isnan(learnt.confidence[:, 0]).all()
    assert (learnt.labels[:, 1:] >= 0).all()


def test_records_say_with_which_heads_a_ticket_was_admitted() -> None:
    of = controller(BAG, ALL_LEAVE)
    records: list[DecidedRows] = []
    of.decisions.on_over.append(lambda decided, events: records.append(decided))
    change(of, version=3)
    run(of, admit(of, rows=2), votes_of(BAG, 2))
    assert records[0].heads_version.tolist() == [3, 3]


def test_exits_that_vote_by_another_head_are_found() -> None:
    one, two = (Head(np.zeros((2, 4), np.float32), np.zeros(4, np.float32)) for _ in range(2))
    depths = [exit_.depths for exit_ in BAG.exits]
    before = Heads(1, {(0, 1): one, (1, 2): one})
    assert Heads(2, {(0, 1): two, (1, 2): one}).exits(depths, before).tolist() == [True, False, False]
    assert Heads(2, {(0, 1): one}).exits(depths, before).tolist() == [False, True, False]
