"""The arithmetic of the error budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.contract import Reason
from exeunt.tuning.error_budget.class_budget import Q_JUMP, ClassBudget
from exeunt.tuning.error_budget.error_budget import IN_USE_ROWS, ErrorBudget
from exeunt.tuning.error_budget.rule import EXPECTED, MOST_UNITS, LossRateLimit
from exeunt.tuning.tuner import Answered


def answers(rows: int, reason: Reason = Reason.EARLY, q: float = 1.0, service_class: int = 0) -> Answered:
    return Answered(
        reason=np.full(rows, reason, dtype=np.int8),
        exit=np.zeros(rows, dtype=np.int32),
        service_class=np.full(rows, service_class, dtype=np.int16),
        q=np.full(rows, q, dtype=np.float32),
        finishes=np.ones(rows, dtype=bool),
        counted=np.full(rows, reason <= Reason.LOSSLESS),
    )


def error_budget(eps: float = 0.01, cap: int = 10) -> ErrorBudget:
    return ErrorBudget(("", "gold"), (eps, 0.01), g=0.5, most_unconfirmed=cap)


def test_lambda_starts_at_one_and_falls_by_g_eps_per_answer() -> None:
    account = ClassBudget(eps=0.1, g=0.5)
    assert account.lambda_ == 1.0
    account.answered(4)
    assert account.lambda_ == pytest.approx(1.0 - 4 * 0.5 * 0.1)


def test_lambda_is_clipped_below_at_zero() -> None:
    account = ClassBudget(eps=0.5, g=0.5)
    account.answered(1000)
    assert account.lambda_ == 0.0


def test_lambda_is_never_clipped_above() -> None:
    account = ClassBudget(eps=0.1, g=0.5)
    account.lost(7.0)
    assert account.lambda_ == pytest.approx(1.0 + 7 * 0.5)
    account.answered(10)
    assert account.lambda_ == pytest.approx(1.0 + 6 * 0.5)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3)), max_size=60), st.sampled_from([0.0, 0.01, 0.3, 1.0]))
def test_the_reserve_is_never_more_than_what_was_earned_less_what_was_lost(
    steps: list[tuple[int, int]], eps: float
) -> None:
    account = ClassBudget(eps=eps, g=0.4)
    for rows, lost in steps:
        account.answered(rows)
        account.lost(float(lost))
        assert account.reserve <= account.allowed - account.losses + 1e-9
        assert account.reserve <= account.capacity + 1e-12


def test_one_seen_loss_does_not_shut_the_exits_where_feedback_is_sampled() -> None:
    account = ClassBudget(eps=0.5, g=0.5)
    account.left_early(1, 20.0, 20.0)
    account.answered(1000)
    account.lost(20.0)
    assert account.lambda_ == pytest.approx(Q_JUMP, abs=0.05)


def test_a_lossless_answer_earns_and_does_not_wait() -> None:
    books = error_budget()
    books.answered(answers(5, Reason.LOSSLESS))
    assert books.classes[0].reserve == pytest.approx(0.05)
    assert books.classes[0].unconfirmed_rows == 0


@pytest.mark.parametrize("reason", [Reason.DEADLINE, Reason.DEGRADED])
def test_answers_outside_the_promise_touch_nothing(reason: Reason) -> None:
    books = error_budget()
    before = books.state()
    books.answered(answers(5, reason))
    books.abandoned(answers(5, reason))
    assert books.state() == before


def test_classes_of_service_have_accounts_of_their_own() -> None:
    books = error_budget()
    books.answered(answers(5, service_class=1))
    assert (books.classes[0].answered_rows, books.classes[1].answered_rows) == (0, 5)
    assert books.classes[1].unconfirmed_rows == 5


def test_the_cap_on_unconfirmed_rows_is_shared_and_counts_each_row_by_its_weight() -> None:
    books = error_budget(cap=10)
    books.answered(answers(3, q=0.5))
    books.answered(answers(2, service_class=1))
    assert books.room_rows(q=1.0, number=1) == 2
    assert books.room_rows(q=0.5, number=1) == 1


def test_a_class_keeps_its_share_of_the_room_while_it_is_in_use() -> None:
    books = error_budget(cap=10)
    assert books.room_rows(q=1.0) == 10  # nobody else is there
    books.answered(answers(1, Reason.LOSSLESS, service_class=1))
    assert books.room_rows(q=1.0) == 5
    books.answered(answers(5))
    assert (books.room_rows(q=1.0), books.room_rows(q=1.0, number=1)) == (0, 5)
    books.answered(answers(IN_USE_ROWS + 1, Reason.LOSSLESS))
    assert books.room_rows(q=1.0) == 5


def test_an_early_row_that_was_not_chosen_to_finish_does_not_wait() -> None:
    books = error_budget()
    early_rows = answers(4, q=0.5)
    early_rows.finishes[:] = False
    books.answered(early_rows)
    assert books.classes[0].unconfirmed == 0.0
    assert books.classes[0].answered_rows == 4


def test_an_abandoned_early_row_counts_as_lost_by_its_weight() -> None:
    books = error_budget()
    books.answered(answers(2, q=0.5))
    books.abandoned(answers(2, q=0.5))
    assert books.classes[0].losses == 4.0
    assert books.classes[0].unconfirmed == 0.0


def test_the_alarm_is_silent_at_the_bound_and_rings_beyond() -> None:
    account = ClassBudget(eps=0.1, g=0.5)
    account.left_early(3, 3.0, 1.0)
    account.answered(10)
    account.lost(4.0)  # eps T + P
    assert not account.broken
    account.lost(0.5)
    assert account.broken


def test_the_alarm_rings_for_a_window_even_if_the_total_is_fine() -> None:
    account = ClassBudget(eps=0.1, g=0.5)
    account.answered(1000)  # may total 100, but no window of a few answers more than 1/g + P = 2
    account.lost(2.0)
    assert not account.broken
    account.lost(0.5)
    assert account.broken


def test_the_pace_slows_as_losses_near_the_most_of_a_window_and_recovers_when_they_are_past() -> None:
    pace, eps = LossRateLimit(), 0.01
    for _ in range(int(MOST_UNITS) - 4):
        pace.lost(100, 1.0)
    assert pace.most_loss(100, eps, 1.0) == float("inf")
    slower = []
    for _ in range(4):
        pace.lost(100, 1.0)
        slower.append(pace.most_loss(100, eps, 1.0))
    assert slower == sorted(slower, reverse=True)
    assert 0.0 < slower[-1] < eps
    assert pace.most_loss(100 + int(EXPECTED / eps), eps, 1.0) == float("inf")


def test_more_may_be_saved_up_where_more_losses_are_promised() -> None:
    books = ErrorBudget(("", "bulk"), (0.01, 0.05), g=0.2, most_unconfirmed=10)
    assert [class_.capacity for class_ in books.classes] == pytest.approx([5.0, 25.0])
    books.set_class_losses((0.001, 0.1))
    assert [class_.capacity for class_ in books.classes] == pytest.approx([5.0, 50.0])
