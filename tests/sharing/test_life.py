"""A life's dealings with the ledger: what leaves the account, when, and what comes back."""

from __future__ import annotations

import pytest

from exeunt.sharing.ledger import Reply
from exeunt.sharing.life import NEEDY_SHARE, SPARE_SHARE, Life
from exeunt.tuning.error_budget.class_budget import ClassBudget


def account(reserve: float, unconfirmed: float = 0.0) -> ClassBudget:
    """An account that can save up 4 losses."""
    budget = ClassBudget(eps=0.01, g=0.25)
    budget.hand_over(reserve)
    budget.left_early(int(unconfirmed), unconfirmed, 1.0)
    return budget


def joined(budget: ClassBudget, at_rest: float = 0.0) -> Life:
    life = Life("a")
    life.beat(budget)
    life.answered(Reply(1, "run", at_rest=at_rest), budget)
    return life


def test_a_message_is_sent_again_as_it_is_until_it_is_answered() -> None:
    budget = account(0.0)
    life = Life("a")
    first = life.beat(budget)
    budget.lost(3.0)
    assert life.beat(budget) == first
    life.answered(Reply(1, "run"), budget)
    assert life.beat(budget).owed == 3.0


def test_a_reply_counts_once_and_only_for_its_message() -> None:
    budget = account(0.0)
    life = Life("a")
    life.beat(budget)
    life.answered(Reply(7, "run", savings=1.0), budget)
    assert budget.reserve == 0.0
    for _ in range(2):
        life.answered(Reply(1, "run", savings=1.0), budget)
    assert budget.reserve == 1.0


def test_what_is_lent_leaves_the_account_first_and_leaves_it_above_nothing() -> None:
    budget = account(4.0)
    message = joined(budget).beat(budget)
    assert message.deposit == 4.0 * (1 - SPARE_SHARE) and budget.reserve == 4.0 * SPARE_SHARE


def test_nothing_is_lent_where_enough_is_at_rest() -> None:
    budget = account(4.0)
    assert joined(budget, at_rest=4.0).beat(budget).deposit == 0.0 and budget.reserve == 4.0


def test_who_has_little_asks() -> None:
    budget = account(0.5)
    assert joined(budget).beat(budget).want == 4.0 * NEEDY_SHARE - 0.5


def test_what_others_would_have_to_earn_counts_what_awaits_its_full_vote() -> None:
    budget = account(1.0, unconfirmed=3.0)
    assert Life("a").beat(budget).owed == 2.0


def test_an_end_waits_for_the_message_under_way() -> None:
    budget = account(0.0)
    life = Life("a")
    life.beat(budget)
    assert life.end(budget) is None


@pytest.mark.parametrize("reserve", [3.0, -3.0])
def test_an_end_hands_over_everything_once_it_is_answered(reserve: float) -> None:
    budget = account(reserve)
    life = joined(budget)
    message = life.end(budget)
    assert message is not None and message.deposit == reserve and budget.reserve == reserve
    life.answered(Reply(2, "run"), budget)
    assert budget.reserve == 0.0


def test_a_restart_takes_of_what_it_inherits_only_what_its_files_did_not_hold() -> None:
    budget = account(-2.0)
    life = Life("b", was="a", covered=2.0)
    assert life.beat(budget).was == "a"
    life.answered(Reply(1, "run", inherited=5.0), budget)
    assert budget.reserve == -5.0
    assert life.beat(budget).was == ""


def test_savings_that_do_not_fit_are_void_and_those_that_do_are_no_breach() -> None:
    budget = account(0.0)
    budget.hand_over(9.0)
    assert budget.reserve == 4.0
    budget.left_early(1, 1.0, 1.0)
    budget.lost(3.0)
    budget.left_early(1, 1.0, 1.0)
    assert not budget.broken and budget.most_losses == 4.0 + 2.0
