"""Requests in simulated time: against cases worked out by hand, and against the real scheduler."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from exeunt.costing.engine_run import EngineRun
from exeunt.costing.ensemble_run import EnsembleRun
from exeunt.costing.forecast import run_with_exits
from exeunt.costing.path_costs import PathCosts
from exeunt.costing.plain_run import PlainRun
from exeunt.costing.requests_in_time import answers_per_s, latencies_us
from exeunt.costing.timed_bag import TimedBag, timed_bag
from exeunt.deciding.request import Request
from exeunt.manifest import Manifest
from tests.deciding.controller_bag import controller, votes_of
from tests.engine.scenes import engine_bag
from tests.engine.simulate import Simulation

FREE = PathCosts(request_us=0.0, reply_us=0.0, hop_us=0.0, ticket_us=0.0, decide_us=0.0)
EVERYBODY, NOBODY = (1.0, 0.0), (0.0, 1.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def two_members(mode: str) -> Manifest:
    """Two members of 10 ms, an exit after the first; heads cost nothing."""
    bag = engine_bag([[10_000], [10_000]], ((1, 0), (1, 1)), shrink=1.0)
    exits = tuple(dataclasses.replace(exit_, head_us={1: 0.0}) for exit_ in bag.exits)
    return dataclasses.replace(bag, mode=mode, exits=exits)


def latencies_ms(bag: TimedBag, arrivals_ms: list[float], costs: PathCosts = FREE, plain: bool = False) -> list[float]:
    run = PlainRun(bag, costs, rng()) if plain else run_with_exits(bag, costs, rng())
    return [float(us) / 1000 for us in latencies_us(run, 1000.0 * np.array(arrivals_ms))]


@pytest.mark.parametrize(("cores", "expected_ms"), [(1, [20.0, 39.0]), (2, [10.0, 19.0])])
def test_members_of_the_plain_ensemble_run_side_by_side_and_the_next_request_waits(
    cores: int, expected_ms: list[float]
) -> None:
    bag = timed_bag(two_members("ensemble"), NOBODY, cores)
    assert latencies_ms(bag, [0.0, 1.0], plain=True) == pytest.approx(expected_ms)


def test_every_process_on_the_way_costs_its_time() -> None:
    costs = PathCosts(request_us=1000.0, reply_us=500.0, hop_us=700.0, ticket_us=100.0, decide_us=300.0)
    bag = timed_bag(two_members("ensemble"), EVERYBODY, 2)
    plain_ms, staged_ms = 1 + 0.7 + 10 + 0.7 + 0.5, 1 + 0.7 + 0.1 + 0.7 + 0.7 + 10 + 0.7 + 0.3 + 0.5
    assert latencies_ms(bag, [0.0], costs, plain=True) == pytest.approx([plain_ms])
    assert latencies_ms(bag, [0.0], costs) == pytest.approx([staged_ms])  # to the controller, call, segment, tap
    engine = timed_bag(two_members("engine"), EVERYBODY, 2)
    assert latencies_ms(engine, [0.0], costs) == pytest.approx([1 + 0.7 + 0.1 + 10 + 0.3 + 0.5])


def test_a_host_works_off_what_its_cores_leave_beside_the_way() -> None:
    costs = PathCosts(request_us=1000.0, reply_us=500.0, hop_us=700.0, ticket_us=100.0, decide_us=300.0)
    ensemble, engine = (timed_bag(two_members(mode), EVERYBODY, 2) for mode in ("ensemble", "engine"))
    assert ensemble.plain_room_per_s(costs) == pytest.approx(2000 / (20 + 1.5 + 3 * 0.7))
    assert engine.room_per_s(costs) == pytest.approx(2000 / (20 + 1.5 + 0.7 + 0.1 + 2 * 0.3))
    assert ensemble.room_per_s(costs) == pytest.approx(2000 / (20 + 1.5 + 7 * 0.7 + 0.1 + 2 * 0.3))


def test_feedback_in_ensemble_mode_shares_the_cores_with_who_comes_meanwhile() -> None:
    bag = timed_bag(two_members("ensemble"), EVERYBODY, 1)
    # the second comes at 12, when 8 of the first's feedback are left: until 28 each has half, then 2 are left
    assert latencies_ms(bag, [0.0, 12.0]) == pytest.approx([10.0, 18.0])


def test_feedback_in_the_engine_delays_by_a_segment_at_most() -> None:
    bag = timed_bag(two_members("engine"), EVERYBODY, 1)
    # feedback began at 10 and ends at 20
    assert latencies_ms(bag, [0.0, 12.0]) == pytest.approx([10.0, 18.0])
    assert latencies_ms(bag, [0.0, 1.0]) == pytest.approx([10.0, 19.0])  # before any feedback


def test_callers_who_never_pause_are_answered_one_after_the_other() -> None:
    bag = timed_bag(two_members("ensemble"), NOBODY, 1)
    assert answers_per_s(PlainRun(bag, FREE, rng()), callers=1, requests=20) == pytest.approx(50.0)


def test_times_are_those_of_a_pass_that_happened() -> None:
    bag = timed_bag(two_members("engine"), NOBODY, 1)
    bag = dataclasses.replace(bag, passes_us=(np.array([[1000.0], [9000.0]]), np.array([[2000.0]])))
    times_ms = latencies_ms(bag, [100.0 * number for number in range(50)])
    assert set(np.round(times_ms, 6)) == {3.0, 11.0}


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("exits_on", [True, False])
def test_the_engine_in_simulated_time_is_the_real_scheduler(load: float, exits_on: bool) -> None:
    """The real controller and scheduler: the same latencies where nobody leaves, else a like distribution."""
    bag = engine_bag([[4000, 6000], [10_000], [12_000]], ((1, 0, 0), (2, 1, 0), (2, 1, 1)), shrink=1.0)
    bag = dataclasses.replace(bag, exits=tuple(dataclasses.replace(exit_, head_us={1: 0.0}) for exit_ in bag.exits))
    of = controller(bag, [0.2, 0.5, 0.0] if exits_on else [0.0, 0.0, 0.0])
    simulation = Simulation(of, 2, lambda ticket: votes_of(bag, ticket.rows, ticket.id))
    arrivals_us = np.cumsum(rng(3).exponential(1e6 / (load * 2 / 0.032), 600))
    simulation.run([(float(at_us), Request(number, 1)) for number, at_us in enumerate(arrivals_us)])
    real_us = np.array([release.latency_us for _, release in simulation.releases])
    rows = of.counters.answers.sum(axis=1)
    ours_us = latencies_us(EngineRun(timed_bag(bag, tuple(rows / rows.sum()), 2), FREE, rng(4)), arrivals_us)
    for share in (0.5, 0.9, 0.99):
        within = 0.25 if exits_on else 1e-3  # the real one's clock has whole microseconds
        assert np.quantile(ours_us, share) == pytest.approx(np.quantile(real_us, share), rel=within)


def test_feedback_of_many_shares_a_call_and_is_left_out_by_the_share_that_is_asked_for() -> None:
    bag = timed_bag(two_members("ensemble"), EVERYBODY, 1)
    none = dataclasses.replace(bag, mix=dataclasses.replace(bag.mix, feedback=0.0))
    assert latencies_ms(none, [0.0, 12.0]) == pytest.approx([10.0, 10.0])
    runs = EnsembleRun(bag, FREE, rng())
    latencies_us(runs, np.array([0.0, 1000.0, 2000.0]))
    assert runs.host.now_us == pytest.approx(60_000.0)
