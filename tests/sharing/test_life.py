"""A life's dealings with the ledger: what leaves the account, when, and what comes back."""

from __future__ import annotations

import pytest

from exeunt.sharing.ledger import Reply
from exeunt.sharing.life import NEEDY_SHARE, SPARE_SHARE, Life
from exeunt.tuning.error_budget.class_budget import ClassBudget


def account(reserve: float, unconfirmed: float = 0.0) -> ClassBudget:
    """An account that can save up 4 losses."""
    made = ClassBudget(eps=0.01, g=0.25)
    made.hand_over(reserve)
    made.left_early(int(unconfirmed), unconfirmed, 1.0)
    return made


def joined(made: ClassBudget, at_rest: float = 0.0) -> Life:
    life = Life("a")
    life.beat(made)
    life.answered(Reply(1, "run", at_rest=at_rest), made)
    return life


def test_a_message_is_sent_again_as_it_is_until_it_is_answered() -> None:
    made = account(0.0)
    life = Life("a")
    first = life.beat(made)
    made.lost(3.0)
    assert life.beat(made) == first
    life.answered(Reply(1, "run"), made)
    assert life.beat(made).owed == 3.0


def test_a_reply_counts_once_and_only_for_its_message() -> None:
    made = account(0.0)
    life = Life("a")
    life.beat(made)
    life.answered(Reply(7, "run", savings=1.0), made)
    assert made.reserve == 0.0
    for _ in range(2):
        life.answered(Reply(1, "run", savings=1.0), made)
    assert made.reserve == 1.0


def test_what_is_lent_leaves_the_account_first_and_leaves_it_above_nothing() -> None:
    made = account(4.0)
    message = joined(made).beat(made)
    assert message.deposit == 4.0 * (1 - SPARE_SHARE) and made.reserve == 4.0 * SPARE_SHARE


def test_nothing_is_lent_where_enough_is_at_rest() -> None:
    made = account(4.0)
    assert joined(made, at_rest=4.0).beat(made).deposit == 0.0 and made.reserve == 4.0


def test_who_has_little_asks() -> None:
    made = account(0.5)
    assert joined(made).beat(made).want == 4.0 * NEEDY_SHARE - 0.5


def test_what_others_would_have_to_earn_counts_what_awaits_its_full_vote() -> None:
    made = account(1.0, unconfirmed=3.0)
    assert Life("a").beat(made).owed == 2.0


def test_an_end_waits_for_the_message_under_way() -> None:
    made = account(0.0)
    life = Life("a")
    life.beat(made)
    assert life.end(made) is None


@pytest.mark.parametrize("reserve", [3.0, -3.0])
def test_an_end_hands_over_everything_once_it_is_answered(reserve: float) -> None:
    made = account(reserve)
    life = joined(made)
    message = life.end(made)
    assert message is not None and message.deposit == reserve and made.reserve == reserve
    life.answered(Reply(2, "run"), made)
    assert made.reserve == 0.0


def test_a_restart_takes_of_what_it_inherits_only_what_its_files_did_not_hold() -> None:
    made = account(-2.0)
    life = Life("b", was="a", covered=2.0)
    assert life.beat(made).was == "a"
    life.answered(Reply(1, "run", inherited=5.0), made)
    assert made.reserve == -5.0
    assert life.beat(made).was == ""


def test_savings_that_do_not_fit_are_void_and_those_that_do_are_no_breach() -> None:
    made = account(0.0)
    made.hand_over(9.0)
    assert made.reserve == 4.0
    made.left_early(1, 1.0, 1.0)
    made.lost(3.0)
    made.left_early(1, 1.0, 1.0)
    assert not made.broken and made.most_losses == 4.0 + 2.0
