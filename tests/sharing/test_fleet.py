"""All answers of all lives together: at most eps T + the stated constant, whatever happens to replicas and store."""

from __future__ import annotations

import numpy as np
import pytest

from exeunt.sharing.life import MOST_AT_REST
from tests.sharing.fleet import Cunning, Fleet, Replica, living, settings

pytestmark = pytest.mark.slow

ROUNDING = 1e-6
SEEDS = 300


def always(fleet: Fleet, replica: Replica) -> bool:
    """Every early answer is a loss."""
    return True


def at_the_end(fleet: Fleet, replica: Replica) -> bool:
    """Losses come when the account is full, all at once."""
    return replica.account.reserve > 0.9 * replica.account.capacity or len(replica.waiting) > 1


def by_chance(fleet: Fleet, replica: Replica) -> bool:
    """Losses come twice as often as promised."""
    return fleet.rng.random() < 2 * fleet.eps


CUNNING = [always, at_the_end, by_chance]


def churn(fleet: Fleet, most_replicas: int, steps: int, store_fails: bool, keeps_files: bool) -> None:
    """Anything happens to anybody; the first bound is checked after every step."""
    rng = fleet.rng
    for _ in range(int(rng.integers(1, most_replicas + 1))):
        fleet.start(keeps_files=keeps_files)
    for _ in range(steps):
        fleet.now_s += float(rng.choice([0.1, 1.0, 5.0, 40.0], p=[0.5, 0.3, 0.18, 0.02]))
        fleet.losing_share = float(rng.choice([0.0, 0.1, 0.5]))
        happens_to_a_store(fleet) if store_fails and rng.random() < 0.1 else None
        for replica in list(fleet.replicas):
            happens_to(fleet, replica, keeps_files)
        if len(fleet.replicas) < most_replicas and (not fleet.replicas or rng.random() < 0.2):
            again = fleet.folders and rng.random() < 0.8
            files = fleet.folders.pop(int(rng.integers(len(fleet.folders)))) if again else None
            fleet.start(files, keeps_files)
        assert fleet.losses <= fleet.allowed + fleet.constant([fleet.ended, fleet.killed]) + ROUNDING
        assert not fleet.broken()
    assert not fleet.paid_twice()
    every_p = fleet.constant([fleet.ended, fleet.killed])
    assert fleet.worst_excess <= (most_replicas + MOST_AT_REST) / fleet.g + every_p + ROUNDING


def happens_to(fleet: Fleet, replica: Replica, keeps_files: bool) -> None:
    rng = fleet.rng
    chance = rng.random()
    if chance < 0.5:
        fleet.serve(replica, int(rng.integers(1, 40)))
    if chance < 0.6:
        fleet.confirm(replica, int(rng.integers(0, 20)))
    elif chance < 0.8:
        fleet.beat(replica)
    elif chance < 0.83:
        fleet.drain(replica)
    elif chance < 0.86:
        fleet.kill(replica)
    elif chance < 0.9:
        replica.cut_off = not replica.cut_off
    elif keeps_files:
        replica.save(False, replica.life.id)


def happens_to_a_store(fleet: Fleet) -> None:
    rng = fleet.rng
    chance = rng.random()
    if chance < 0.3:
        fleet.up = not fleet.up
    elif chance < 0.6 or not fleet.copies:
        fleet.copy_store()
    elif chance < 0.8:
        fleet.restart_store(fleet.copies[int(rng.integers(len(fleet.copies)))])
    elif chance < 0.9:
        fleet.restart_store(fleet.ledger)
    else:
        fleet.wipe_store()


def settle(fleet: Fleet) -> None:
    """Everything heals, full votes arrive, debt is worked off; nobody loses any more."""
    fleet.losing_share, fleet.cunning = 0.0, lambda fleet, replica: False
    if not fleet.replicas:
        fleet.start()
    for _ in range(2000):
        fleet.now_s += 5.0
        for replica in fleet.replicas:
            replica.cut_off = False
            fleet.confirm(replica, 10**6)
            fleet.beat(replica)
            fleet.serve(replica, 50)
        owing = any(replica.account.reserve <= 0 for replica in fleet.replicas)
        silent = living(fleet.ledger) > len(fleet.replicas)
        if not owing and fleet.ledger.debt == 0.0 and not silent:
            return
    raise AssertionError("debt is not worked off")


@pytest.mark.parametrize("cunning", CUNNING)
@pytest.mark.parametrize("keeps_files", [False, True])
def test_no_churn_and_no_failure_of_the_store_passes_one_p_per_life(cunning: Cunning, keeps_files: bool) -> None:
    early = losses = 0.0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        fleet = Fleet(rng, cunning, **settings(rng))
        churn(fleet, int(rng.choice([1, 3, 10])), 60, store_fails=True, keeps_files=keeps_files)
        early, losses = early + fleet.early, losses + fleet.losses
    assert losses > SEEDS and early > losses * 0.99  # the streams did put it to the test


@pytest.mark.parametrize("cunning", CUNNING)
def test_fifty_replicas_keep_one_p_per_life(cunning: Cunning) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        fleet = Fleet(rng, cunning, **settings(rng))
        churn(fleet, 50, 60, store_fails=True, keeps_files=bool(seed % 2))
        assert fleet.losses > 0


@pytest.mark.parametrize("cunning", CUNNING)
def test_with_a_store_that_works_an_orderly_stop_adds_nothing(cunning: Cunning) -> None:
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        fleet = Fleet(rng, cunning, **settings(rng))
        churn(fleet, int(rng.choice([1, 3, 10])), 60, store_fails=False, keeps_files=False)
        settle(fleet)
        assert fleet.losses <= fleet.allowed + fleet.constant([fleet.killed]) + ROUNDING
        assert not fleet.broken()


def launder(shared: bool) -> float:
    """Losses beyond eps T of a fleet whose replicas stop in order as soon as they owe; debt worked off at the end."""
    fleet = Fleet(np.random.default_rng(0), always, eps=0.01, g=0.25, cap=16, shared=shared)
    for _ in range(20):
        replica = fleet.replicas[0] if fleet.replicas else fleet.start()
        while len(replica.waiting) < fleet.cap and fleet.allowed < 1e4:
            fleet.serve(replica, 10)
        fleet.confirm(replica, fleet.cap)
        fleet.drain(replica)
    if shared:
        settle(fleet)
    return fleet.losses - fleet.allowed


def test_without_a_store_debt_is_laundered_by_stops_and_with_one_it_is_not() -> None:
    assert launder(shared=False) > 15 * 19  # about one P at every stop
    assert launder(shared=True) <= 0.0
