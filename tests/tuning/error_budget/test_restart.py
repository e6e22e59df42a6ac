"""What `budget` remembers over a restart, and what it refuses to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exeunt.hosting.state import StateFile
from exeunt.tuning.error_budget.budget_tuner import BudgetTuner
from exeunt.tuning.tuner import State, View
from tests.tuning.error_budget.world import World, stream, tuner


def lived(batches: int = 40) -> World:
    world, rng = (
        World(tuner(eps=0.1, retune_rows=8, calibrate_rows=8), np.random.default_rng(0)),
        np.random.default_rng(0),
    )
    for _ in range(batches):
        labels, confidence = stream(rng, 8, 4)
        world.admit(labels, confidence)
        world.finish()
    return world


def reborn(state: State, tmp_path: Path, clean: bool, **options: object) -> BudgetTuner:
    """A new tuner from a state that went through a file."""
    file = StateFile(tmp_path, "bag")
    file.save(state, tuner="budget", clean=clean)
    loaded = file.load("budget")
    assert loaded is not None
    another = tuner(**({"eps": 0.1} | options))  # type: ignore[arg-type]
    another.restore(*loaded)
    return another


def test_after_a_clean_stop_everything_goes_on(tmp_path: Path) -> None:
    before = lived().tuner
    after = reborn(before.state(), tmp_path, clean=True)
    assert after.budget.state() == before.budget.state()
    labels, confidence = stream(np.random.default_rng(3), 64, 4)
    assert after.risk(0, confidence[:, 0], labels[:, 0]) == pytest.approx(
        before.risk(0, confidence[:, 0], labels[:, 0]), abs=0.03
    )


def test_after_an_unclean_stop_nobody_leaves_until_new_budget_has_come(tmp_path: Path) -> None:
    before = lived().tuner
    assert before.budget.classes[0].lambda_ < 1.0
    after = reborn(before.state(), tmp_path, clean=False)
    assert after.budget.classes[0].lambda_ == 1.0
    labels, confidence = stream(np.random.default_rng(3), 8, 4)
    assert not after.leaves(0, View(labels, confidence, np.zeros(8, dtype=np.int16))).any()


@pytest.mark.parametrize("clean", [True, False])
def test_debt_is_never_forgotten(tmp_path: Path, clean: bool) -> None:
    before = lived().tuner
    before.budget.classes[0].lost(50.0)
    after = reborn(before.state(), tmp_path, clean=clean)
    assert after.budget.classes[0].lambda_ == pytest.approx(before.budget.classes[0].lambda_)
    assert after.budget.classes[0].lambda_ > 1.0


def test_rows_still_unconfirmed_at_the_stop_count_as_lost(tmp_path: Path) -> None:
    world = lived()
    labels, confidence = np.full((8, 4), 1, dtype=np.int32), np.full((8, 4), 0.999, dtype=np.float32)
    early = int((world.admit(labels, confidence) < 3).sum())
    before = world.tuner.budget.classes[0]
    after = reborn(world.tuner.state(), tmp_path, clean=True).budget.classes[0]
    assert early > 0
    assert after.losses == before.losses + early
    assert after.unconfirmed == 0.0


def test_a_state_of_another_bag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="4 exits, this one has 3"):
        reborn(lived(5).tuner.state(), tmp_path, clean=True, exits=3)


def test_a_damaged_state_is_refused_by_what_is_missing(tmp_path: Path) -> None:
    state = lived(5).tuner.state()
    del state["window.labels"]
    with pytest.raises(ValueError, match=r"window\.labels"):
        reborn(state, tmp_path, clean=True)


def test_a_class_of_service_that_is_new_starts_anew_and_the_others_go_on(tmp_path: Path) -> None:
    before = lived().tuner
    after = reborn(before.state(), tmp_path, clean=True, service_classes={"gold": 0.01})
    assert after.budget.classes[0].state() == before.budget.classes[0].state()
    assert after.budget.classes[1].answered_rows == 0
