"""The `patience` tuner: agreement in a row, by depth, over what has arrived."""

from __future__ import annotations

import numpy as np
import pytest

from exeunt.errors import ConfigError
from exeunt.manifest import Costs
from exeunt.records.feedback import Feedback
from exeunt.settings import Settings
from exeunt.tuning.patience import Patience
from exeunt.tuning.tuner import Setup, View


def patience(**options: object) -> Patience:
    costs = Costs(np.arange(1.0, 6.0), np.zeros(5))
    nothing = Feedback.observed(np.zeros((0, 5), dtype=int), np.zeros((0, 5)))
    return Patience(Setup(costs, Settings(tuner="patience", tuner_options=options), nothing))


def leaves(tuner: Patience, exit_: int, *rows: list[int]) -> list[bool]:
    labels = np.array(rows, dtype=np.int32)
    confidence = np.where(labels < 0, np.nan, 0.5).astype(np.float32)
    return tuner.leaves(exit_, View(labels, confidence, np.zeros(len(labels), np.int16))).tolist()  # type: ignore[no-any-return]


def test_two_exits_in_a_row_with_one_label_are_enough_by_default() -> None:
    assert leaves(patience(), 1, [3, 3, -1, -1, -1], [3, 4, -1, -1, -1]) == [True, False]


def test_another_label_breaks_the_row() -> None:
    assert leaves(patience(patience=3), 3, [2, 7, 2, 2, -1], [7, 2, 2, 2, -1]) == [False, True]


def test_a_missing_exit_neither_adds_nor_breaks() -> None:
    assert leaves(patience(), 2, [3, -1, 3, -1, -1]) == [True]
    assert leaves(patience(patience=3), 2, [3, -1, 3, -1, -1]) == [False]


def test_deeper_exits_that_arrived_first_do_not_count_for_an_earlier_one() -> None:
    assert leaves(patience(), 1, [-1, 3, 3, -1, -1]) == [False]


def test_an_exit_without_a_vote_lets_nobody_leave() -> None:
    assert leaves(patience(patience=1), 1, [3, -1, -1, -1, -1]) == [False]


def test_a_patience_of_one_leaves_at_the_first_exit() -> None:
    assert leaves(patience(patience=1), 0, [3, -1, -1, -1, -1]) == [True]


def test_a_patience_longer_than_the_exits_lets_nobody_leave() -> None:
    assert leaves(patience(patience=5), 3, [3, 3, 3, 3, -1]) == [False]


def test_a_patience_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="patience = 0"):
        patience(patience=0)
