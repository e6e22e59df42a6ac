"""What the budget tuner does when ramps have learnt something new."""

from __future__ import annotations

import copy

import numpy as np

from exeunt.records.feedback import Feedback
from exeunt.tuning.error_budget.budget_tuner import BudgetTuner
from exeunt.tuning.tuner import View
from tests.tuning.error_budget.world import World, stream, tuner

CHANGED = np.array([True, False, False, False])


def served(seed: int = 0) -> BudgetTuner:
    world = World(tuner(eps=0.3, calibration_rows=256, window_rows=512), np.random.default_rng(seed))
    for _ in range(40):
        world.admit(*stream(world.rng, 8, 4))
        world.finish()
    return world.tuner


def leaving(of: BudgetTuner, exit_: int) -> int:
    labels, confidence = stream(np.random.default_rng(77), 200, 4)
    return int(of.leaves(exit_, View(labels, confidence, np.zeros(200, dtype=np.int16))).sum())


def rows(count: int, seed: int = 5) -> Feedback:
    return Feedback.observed(*stream(np.random.default_rng(seed), count, 4))


def test_nobody_leaves_at_a_changed_exit_before_anything_is_known_of_it() -> None:
    of = served()
    assert leaving(of, 0) > 0
    others = leaving(of, 1)
    of.ramps_changed(1, CHANGED, rows(0))
    assert leaving(of, 0) == 0
    assert leaving(of, 1) == others


def test_rows_seen_with_the_new_heads_open_the_exit_with_the_next_job() -> None:
    of = served()
    of.ramps_changed(1, CHANGED, rows(256))
    job = of.retune()
    assert job is not None
    of.adopt(job())
    assert leaving(of, 0) > 0


def test_a_job_that_began_with_the_old_heads_is_void() -> None:
    of = served()
    of.learn(rows(64))
    job = of.retune()
    assert job is not None
    of.ramps_changed(1, CHANGED, rows(0))
    of.adopt(job())
    assert leaving(of, 0) == 0


def test_an_exit_that_was_of_no_use_is_offered_when_its_new_head_is_worth_it() -> None:
    useless = rows(256, seed=6)
    useless.labels[:, 0] = (useless.labels[:, -1] + 1) % 4
    for feedback, worth in ((rows(256, seed=6), True), (useless, False)):
        of = tuner(eps=0.3, calibration_rows=256, window_rows=512, period_rows=1024, head_us=20.0)
        of.learn_unbooked(rows(64), np.array([False, True, True, True]))
        assert not of.active()[0]
        of.ramps_changed(1, CHANGED, feedback)
        job = of.retune()
        assert job is not None
        of.adopt(job())
        assert of.active()[0] == worth


def test_the_account_is_not_touched() -> None:
    of = served()
    before = copy.deepcopy(of.budget.state())
    of.ramps_changed(1, CHANGED, rows(64))
    assert of.budget.state() == before


def test_what_was_known_of_the_other_exits_is_kept() -> None:
    of = served()
    before = of.state()["window.confidence"][:, 1:]
    of.ramps_changed(1, CHANGED, rows(0))
    after = of.state()["window.confidence"]
    np.testing.assert_array_equal(after[:, 1:], before)
    assert np.isnan(after[:, 0]).all()


def test_the_version_of_the_heads_survives_a_restart() -> None:
    of, again = served(), tuner(eps=0.3, calibration_rows=256, window_rows=512)
    of.ramps_changed(7, CHANGED, rows(0))
    again.restore(of.state(), clean=True)
    assert again.heads_version == 7
