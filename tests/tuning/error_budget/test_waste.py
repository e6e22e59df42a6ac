"""Who chooses the inputs can waste the losses of his class of service, and of no other (docs/promise.md, section 8)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tuning.error_budget.test_promise import strike
from tests.tuning.error_budget.world import World, stream, tuner

EXITS, BATCHES, ROWS, WARM_UP, EPS = 3, 300, 8, 75, 0.05


def early_share(honest_class: int, attacked: bool, seed: int = 0) -> float:
    """Share of honest rows that leave early; `attacked`: beside as many of class 0, each lost where it leaves."""
    rng = np.random.default_rng(seed)
    world = World(tuner(exits=EXITS, eps=EPS, service_classes={"gold": EPS}, most_unconfirmed=64), rng)
    early = []
    for _ in range(BATCHES):
        labels, confidence = stream(rng, ROWS, EXITS)
        if attacked:
            service_class = np.zeros(ROWS, dtype=np.int16)
            bad, sure = stream(rng, ROWS, EXITS)
            bad[:, -1] = strike(world, bad, sure, service_class)
            world.admit(bad, sure, service_class)
            world.finish()
        early += [world.admit(labels, confidence, np.full(ROWS, honest_class)) < EXITS - 1]
        world.finish()
    return float(np.mean(early[WARM_UP:]))


def test_losses_that_one_caller_wastes_keep_his_class_from_leaving_early() -> None:
    assert early_share(0, attacked=True) < 0.2 * early_share(0, attacked=False)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_wasted_in_one_class_keeps_nobody_of_another_from_leaving_early(seed: int) -> None:
    assert early_share(1, attacked=True, seed=seed) > 0.9 * early_share(1, attacked=False, seed=seed)
