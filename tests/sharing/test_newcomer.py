"""A newcomer with a store answers as early as its siblings: it knows what they know, and gets what they can spare."""

from __future__ import annotations

import numpy as np
import pytest

from exeunt.sharing.ledger import Ledger, exchange
from exeunt.sharing.lesson import MOST_ROWS, from_bytes, to_bytes
from exeunt.sharing.life import Life
from exeunt.tuning.error_budget.budget_tuner import BudgetTuner
from tests.tuning.error_budget.world import World, tuner

pytestmark = pytest.mark.slow

EXITS, CLASSES, ANSWERS = 4, 4, 400


def server() -> BudgetTuner:
    """As served by default, without calibration data."""
    return tuner(
        EXITS, 0, 256, 0.01, g=0.25, window_rows=4096, half_life_rows=2000.0, retune_rows=32, calibrate_rows=64
    )


def answer(world: World, rows: int) -> float:
    """Share of rows that leave early; three in ten are hard, and a vote's confidence tells how often it is wrong."""
    before, rng = len(world.exits), world.rng
    for _ in range(rows):
        least = 0.2 if rng.random() < 0.3 else 0.93
        confidence = np.sort(rng.uniform(least, min(1.0, least + 0.7), (1, EXITS)), axis=1).astype(np.float32)
        labels = np.full((1, EXITS), rng.integers(CLASSES), dtype=np.int32)
        wrong = rng.random((1, EXITS)) < (1.0 - confidence) ** 1.5 / 1.5
        wrong[:, -1] = False  # the full vote is what it is compared with
        labels[wrong] = (labels[wrong] + 1) % CLASSES
        world.admit(labels, confidence)
        world.finish()
    return float((np.array(world.exits[before:]) < EXITS - 1).mean())


def early_shares(seed: int) -> tuple[float, float, float]:
    """Early share of a sibling that has served for long, of a newcomer with a store, of one without; 400 answers."""
    sibling = World(server(), np.random.default_rng(seed))
    life, ledger = Life("sibling"), Ledger.empty()
    account = sibling.tuner.budget.classes[0]
    for round_ in range(50):
        answer(sibling, 100)
        ledger, reply = exchange(ledger, life.beat(account), 5.0 * round_, "run")
        life.answered(reply, account)
    newcomer = World(server(), np.random.default_rng(seed + 1000))
    window = sibling.tuner._window.view()
    for first in range(0, len(window), MOST_ROWS):
        lesson = to_bytes(window.rows(slice(first, first + MOST_ROWS)), sibling.tuner.active())
        newcomer.tuner.learn_unbooked(*from_bytes(lesson, EXITS, CLASSES))
    born = Life("newcomer")
    _, reply = exchange(ledger, born.beat(newcomer.tuner.budget.classes[0]), 251.0, "run")
    born.answered(reply, newcomer.tuner.budget.classes[0])
    alone = World(server(), np.random.default_rng(seed + 1000))
    return answer(sibling, 4 * ANSWERS), answer(newcomer, ANSWERS), answer(alone, ANSWERS)


def test_with_a_store_a_newcomers_first_400_answers_leave_as_early_as_its_siblings() -> None:
    sibling, newcomer, alone = np.mean([early_shares(seed) for seed in range(4)], axis=0)
    assert newcomer > 0.95 * sibling
    assert alone < 0.92 * sibling  # without one they do not
