"""Risks, path and exits of a bag with two gears: each is learnt from the rows that went its way."""

from dataclasses import replace

import numpy as np
import pytest

from exeunt.manifest import Costs
from exeunt.records.feedback import NEVER_SEEN, Feedback
from exeunt.settings import Settings
from exeunt.tuning.error_budget.budget_tuner import BudgetTuner
from exeunt.tuning.error_budget.exit_choice import Replayed
from exeunt.tuning.error_budget.retuning import LATEST_ROWS
from exeunt.tuning.tuner import Setup
from tests.tuning.error_budget.world import stream

EXITS = 5
AT_REST, LEAN = (0, 2, 4), (1, 3, 4)
COSTS = Costs(np.linspace(200.0, 1000.0, EXITS), np.zeros(EXITS), (AT_REST, LEAN))


def rows(count, seed, gear=None):
    """Finished rows that went through the exits of a gear; None = that saw every exit."""
    labels, confidence = stream(np.random.default_rng(seed), count, EXITS)
    if gear is not None:
        unseen = ~np.isin(np.arange(EXITS), gear)
        labels[:, unseen], confidence[:, unseen] = NEVER_SEEN, np.nan
    return Feedback.observed(labels, confidence)


def tuner(calibration, costs=COSTS):
    settings = Settings(tuner="budget", max_loss=0.05, tuner_options={"period_rows": 0})
    of = BudgetTuner(Setup(costs, settings, calibration))
    of.budget.classes[0].reserve = of.budget.classes[0].capacity
    return of


def taught(of, *batches):
    for feedback in batches:
        of.learn_unbooked(feedback)
        while (job := of.retune()) is not None:
            of.adopt(job())
    return of


def test_a_gear_that_nobody_was_in_of_late_still_lets_rows_leave():
    of = taught(tuner(rows(600, 0)), *(rows(64, seed, AT_REST) for seed in range(1, 1 + 2 * LATEST_ROWS // 64)))
    assert (of._cuts(0)[[1, 3]] > 0).all()


def test_the_few_rows_of_a_gear_out_of_use_count_as_if_they_were_new():
    """Those that the calibration holds, though a thousand others came since."""
    quiet = taught(tuner(rows(600, 0)), rows(64, 1, AT_REST))
    late = taught(tuner(rows(600, 0)), *(rows(64, seed, AT_REST) for seed in range(2, 18)))
    cuts = [of._retuned.path.cuts[:, 3] for of in (quiet, late)]
    np.testing.assert_allclose(*cuts, atol=0.1)


@pytest.mark.parametrize(("gear", "exits"), [(AT_REST, [0, 2]), (LEAN, [1, 3])])
def test_the_cuts_of_a_gear_are_those_of_a_bag_that_has_only_this_gear(gear, exits):
    """Of rows that saw nothing else: what the other gear's exits are worth changes nothing."""
    feedback = rows(600, 3, gear)
    both = taught(tuner(feedback), rows(64, 4, gear))
    alone = taught(tuner(feedback, replace(COSTS, gears=())), rows(64, 4, gear))
    np.testing.assert_allclose(both._retuned.path.cuts[:, exits], alone._retuned.path.cuts[:, exits], atol=0.05)


def test_an_exit_is_judged_within_its_own_gear():
    """On rows of the lean gear, none of which saw the exits of the other."""
    risk = np.random.default_rng(0).uniform(0.0, 0.1, (200, EXITS - 1))
    risk[:, [0, 2]] = np.nan
    every = np.ones(EXITS, dtype=bool)
    without = every.copy()
    without[1] = False
    assert Replayed(risk, np.ones(200), COSTS, price=1.0).gain(without, every) > 0


def test_an_exit_of_a_gear_that_no_row_went_through_is_left_alone():
    risk = np.random.default_rng(0).uniform(0.0, 0.1, (200, EXITS - 1))
    risk[:, [0, 2]] = np.nan
    every = np.ones(EXITS, dtype=bool)
    without = every.copy()
    without[0] = False
    assert np.isnan(Replayed(risk, np.ones(200), COSTS, price=1.0).gain(without, every))


def test_a_tuner_without_anything_left_says_that_it_trusts_nobody():
    of = tuner(rows(600, 0))
    of.budget.classes[0].reserve = 0.0
    assert not of.trusts()
