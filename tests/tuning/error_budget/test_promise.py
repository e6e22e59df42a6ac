"""The promise of `budget` on thousands of random and adversarial streams (docs/promise.md)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from exeunt.tuning.tuner import View
from tests.tuning.error_budget.world import World, stream, tuner

pytestmark = pytest.mark.slow

ROUNDING = 1e-6


def strike(world: World, labels: np.ndarray, confidence: np.ndarray, service_class: np.ndarray) -> np.ndarray:
    """The adversary's full votes: it sees who would leave where and makes each of those a loss; int [rows]."""
    ruin = labels[:, -1].copy()
    active = world.tuner.active()
    for exit_ in np.flatnonzero(active[:-1])[::-1]:
        would = world.tuner.leaves(int(exit_), View(labels, confidence, service_class, world.q))
        ruin[would] = labels[would, exit_] + 1
    return ruin


def live(
    world: World,
    seed: int,
    rows: int,
    classes: int,
    *,
    cunning: float,
    lossy: float,
    most_late: int,
    learning: float = 0.0,
) -> None:
    """A stream with random batches, late, reordered and lost feedback.

    `cunning` = share of batches struck, `learning` = share of batches before which ramps change under the stream.
    """
    rng = np.random.default_rng(seed)
    exits = world.tuner.setup.exits
    served_rows, patient = 0, rng.random() < 0.5
    while served_rows < rows:
        size = int(rng.integers(1, 17))
        served_rows += size
        if rng.random() < learning:
            world.change_ramps(np.append(rng.random(exits - 1) < 0.6, False), int(rng.choice([0, 8, 64])))
        labels, confidence = stream(rng, size, exits)
        service_class = rng.integers(0, classes, size).astype(np.int16)
        saved = min(class_.lambda_ for class_ in world.tuner.budget.classes) < 0.1
        if rng.random() < cunning and (saved or not patient):  # the patient one waits for a full reserve
            labels[:, -1] = strike(world, labels, confidence, service_class)
        elif cunning:
            labels[:] = labels[:, :1]
            confidence[:] = rng.choice([0.6, 0.9, 1.0])
        observed = rng.random(exits) < 0.9 if rng.random() < 0.1 else None
        world.admit(labels, confidence, service_class, observed)
        while len(world.flying) > rng.integers(0, most_late + 1):
            number = int(rng.integers(len(world.flying)))
            (world.drop if rng.random() < lossy else world.finish)(number)


def random_world(seed: int) -> World:
    """A tuner with any promise, step and cap."""
    rng = np.random.default_rng(seed)
    exits, eps, g = int(rng.integers(2, 5)), float(rng.choice([0.01, 0.05, 0.3])), float(rng.choice([0.2, 0.5, 1.0]))
    return World(tuner(exits=exits, eps=eps, g=g, most_unconfirmed=int(rng.choice([0, 1, 8, 64]))), rng)


def promise_kept(world: World) -> bool:
    """True if neither bound was passed at any time, for any class of service."""
    for number, account in enumerate(world.tuner.budget.classes):
        most = account.most_unconfirmed
        assert most <= world.tuner.setup.settings.max_unconfirmed_rows + ROUNDING
        assert not account.broken
        if world.most_losses_beyond(account.eps, number) > most + ROUNDING:
            return False
        if world.worst_window_beyond(account.eps, number) > account.widest + most + ROUNDING:
            return False
    return True


@pytest.mark.parametrize("cunning", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("lossy", [0.0, 0.2])
def test_no_stream_passes_the_bound(cunning: float, lossy: float) -> None:
    losses = 0
    for seed in range(250):
        world = random_world(seed)
        live(world, seed, rows=100, classes=1, cunning=cunning, lossy=lossy, most_late=int(world.rng.integers(0, 5)))
        assert promise_kept(world), f"stream {seed}"
        losses += int(world.losses()[-1])
    assert losses > 50  # the streams did put it to the test


@pytest.mark.parametrize("cunning", [0.3, 1.0])
def test_no_class_of_service_passes_its_own_bound(cunning: float) -> None:
    for seed in range(150):
        rng = np.random.default_rng(seed)
        world = World(tuner(exits=3, eps=0.1, service_classes={"gold": 0.0, "bulk": 0.5}), rng)
        live(world, seed, rows=120, classes=3, cunning=cunning, lossy=0.1, most_late=4)
        assert promise_kept(world), f"stream {seed}"
        assert not any(world.lost[1])  # gold promised 0


def test_the_bound_holds_when_every_row_that_leaves_is_lost_at_once() -> None:
    for seed in range(250):
        rng = np.random.default_rng(seed)
        world = World(tuner(exits=2, eps=0.2, g=1.0, most_unconfirmed=10_000), rng)
        live(world, seed, rows=80, classes=1, cunning=1.0, lossy=0.0, most_late=0)
        assert promise_kept(world), f"stream {seed}"


@pytest.mark.parametrize("cunning", [0.0, 0.5, 1.0])
def test_no_stream_passes_the_bound_while_ramps_change_under_it(cunning: float) -> None:
    losses = changes = 0
    for seed in range(250):
        world = random_world(seed)
        live(world, seed, rows=100, classes=1, cunning=cunning, lossy=0.1, most_late=4, learning=0.3)
        assert promise_kept(world), f"stream {seed}"
        losses += int(world.losses()[-1])
        changes += world.tuner.heads_version
    assert losses > 50 and changes > 250  # the streams did put it to the test


def bound_with_sampling(answers: int, eps: float, unconfirmed: float, q: float, delta: float) -> float:
    """Most losses after `answers` rows, but for a share `delta` of streams (docs/promise.md, section 5)."""
    allowed = eps * answers + unconfirmed
    s = min(q, math.sqrt(2 * q * math.log(1 / delta) / (allowed * (1 - q))))
    shrink = -math.log(1 - q + q * math.exp(-s / q)) / s
    return (allowed + math.log(1 / delta) / s) / shrink


@pytest.mark.parametrize("q", [0.5, 0.2])
def test_with_sampled_feedback_the_bound_fails_at_most_as_often_as_stated(q: float) -> None:
    eps, delta, streams, rows, cap = 0.2, 0.1, 120, 250, 32
    passed = 0
    for seed in range(streams):
        rng = np.random.default_rng(seed)
        world = World(tuner(exits=2, eps=eps, g=0.5, most_unconfirmed=cap), rng, q=q)
        live(world, seed + 1, rows=rows, classes=1, cunning=1.0, lossy=0.0, most_late=2)
        assert not world.tuner.budget.classes[0].broken
        losses = world.losses()
        passed += int(losses[-1] > bound_with_sampling(len(losses), eps, cap, q, delta))
    assert passed <= delta * streams


def test_losses_that_sampling_did_not_choose_are_made_up_for_by_the_weight_of_those_it_did() -> None:
    losses, answers = 0, 0
    for seed in range(30):
        world = World(tuner(exits=2, eps=0.1, most_unconfirmed=64), np.random.default_rng(seed), q=0.25)
        live(world, seed, rows=400, classes=1, cunning=0.7, lossy=0.0, most_late=1)
        losses, answers = losses + int(world.losses()[-1]), answers + len(world.losses())
    assert losses / answers < 0.12
