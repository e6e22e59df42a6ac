"""What an answer costs: against cases worked out by hand, and against the real scheduler in simulated time."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exeunt.cli.main import main
from exeunt.costing.answers import AnswerMix, answer_mix
from exeunt.costing.comparison import compare
from exeunt.costing.deployments import (
    IDLE_S,
    ColdStart,
    autoscaled,
    break_even_per_s,
    carried_per_s,
    function_per_answer,
    function_per_member,
    one_machine,
    scaled_to_zero,
)
from exeunt.costing.load import Load, constant, diurnal, from_csv
from exeunt.costing.prices import SHIPPED, Prices
from exeunt.costing.waiting import latencies_us
from exeunt.deciding.request import Request
from exeunt.errors import ConfigError
from tests.deciding.controller_bag import controller, votes_of
from tests.engine.scenes import engine_bag
from tests.engine.simulate import Simulation

PRICES = Prices.load()
COLD = ColdStart(machine_s=30.0, function_s=5.0)
# two members of 10 ms, one exit after the first: half of the answers leave there
MIX = AnswerMix(
    shares=np.array([0.5, 0.5]),
    latency_us=np.array([10_000.0, 20_000.0]),
    work_us=np.array([10_000.0, 20_000.0]),
    full_latency_us=20_000.0,
    member_us=(10_000.0, 10_000.0),
    segment_us=10_000.0,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_one_machine_costs_its_rent_whoever_asks() -> None:
    cost = one_machine(MIX, constant(10.0), PRICES, COLD, rng())
    assert cost.usd_per_1000 == pytest.approx(1000 * 0.0816 / 3600 / 10.0)


def test_a_function_costs_its_calls_and_its_memory_rounded_up_to_milliseconds() -> None:
    gb_ms = 0.0000166667 * 1.769 / 1000
    by_hand = 1000 * (0.0000002 + gb_ms * 20.0)  # with full feedback everybody runs for 20 ms
    assert function_per_answer(MIX, constant(5.0), PRICES, COLD, rng()).usd_per_1000 == pytest.approx(by_hand)
    assert PRICES.function.usd(9.2) == pytest.approx(0.0000002 + gb_ms * 10.0)


def test_without_feedback_a_function_is_billed_for_the_answers_work_alone() -> None:
    none = dataclasses.replace(MIX, feedback=0.0)
    by_hand = 1000 * (0.0000002 + 0.0000166667 * 1.769 * 0.015)  # half run 10 ms, half 20 ms
    assert function_per_answer(none, constant(5.0), PRICES, COLD, rng()).usd_per_1000 == pytest.approx(
        by_hand, rel=0.03
    )


def test_a_function_per_member_pays_for_every_transition() -> None:
    by_hand = 1000 * (5 * 0.000025 + 2 * (0.0000002 + 0.0000166667 * 1.769 * 0.010))
    assert function_per_member(MIX, constant(5.0), PRICES, COLD, rng()).usd_per_1000 == pytest.approx(by_hand)


def test_where_both_cost_the_same_machine_and_function_break_even() -> None:
    rate = break_even_per_s(MIX, PRICES)
    machine = one_machine(MIX, constant(rate), PRICES, COLD, rng())
    function = function_per_answer(MIX, constant(rate), PRICES, COLD, rng())
    assert machine.usd_per_1000 == pytest.approx(function.usd_per_1000, rel=1e-6)


def test_an_autoscaler_adds_machines_where_the_load_needs_them() -> None:
    room = carried_per_s(MIX, PRICES.machine.cores)  # 2 cores, 20 ms: 100 a second, 60 of them used
    assert room == pytest.approx(100.0)
    load = Load(3600.0, np.array([10.0, 150.0]))
    assert autoscaled(MIX, load, PRICES, COLD, rng()).replicas == 3
    assert one_machine(MIX, Load(3600.0, np.array([10.0, 250.0])), PRICES, COLD, rng()).p50_ms == np.inf


def test_nobody_pays_for_idle_hours_where_machines_scale_to_zero() -> None:
    load = Load(3600.0, np.array([0.0] * 23 + [1.0]))
    hour = (
        scaled_to_zero(MIX, load, PRICES, COLD, rng()).usd_per_1000 * load.answers / 1000 / PRICES.machine.usd_per_hour
    )
    assert hour == pytest.approx(1.0, abs=0.2)


def test_who_comes_first_waits_for_the_cold_start() -> None:
    load = Load(24 * 3600.0, np.array([1.0 / (3 * IDLE_S)]))  # mostly nobody for longer than a replica stays
    assert scaled_to_zero(MIX, load, PRICES, COLD, rng()).p50_ms > 30_000
    assert function_per_answer(MIX, load, PRICES, COLD, rng()).p50_ms > 5_000


@settings(max_examples=40, deadline=None)
@given(st.floats(0.05, 40.0), st.floats(0.0, 1.0), st.integers(0, 99))
def test_less_feedback_is_never_dearer_and_no_answer_comes_before_its_work(
    rate: float, share: float, seed: int
) -> None:
    full, less = (function_per_answer(mix, constant(rate, 1.0), PRICES, COLD, rng(seed)) for mix in (MIX, _with(share)))
    assert less.usd_per_1000 <= full.usd_per_1000 * (1 + 1e-9)
    (arrivals,) = constant(rate, 1.0).arrivals_us(300, rng(seed))
    assert (latencies_us(_with(share), arrivals, 2, rng(seed)) >= MIX.latency_us[0]).all()


@settings(max_examples=30, deadline=None)
@given(st.floats(1.0, 40.0), st.integers(0, 99))
def test_a_higher_rate_never_answers_sooner_on_the_same_machine(rate: float, seed: int) -> None:
    slow, fast = (constant(r, 1.0).arrivals_us(400, rng(seed))[0] for r in (rate, 2 * rate))
    assert latencies_us(MIX, fast, 1, rng(1)).mean() >= latencies_us(MIX, slow, 1, rng(1)).mean() - 6_000


def _with(feedback: float) -> AnswerMix:
    return dataclasses.replace(MIX, feedback=feedback)


@pytest.mark.parametrize(("load", "within"), [(0.3, 0.15), (0.6, 0.15), (0.8, 0.3)])
@pytest.mark.parametrize("exits_on", [True, False])
def test_latencies_are_those_of_the_real_scheduler(load: float, within: float, exits_on: bool) -> None:
    """The real controller and scheduler in simulated time, against the formula: medians and p99."""
    bag = engine_bag([[4000, 6000], [10_000], [12_000]], ((1, 0, 0), (2, 1, 0), (2, 1, 1)))
    bag = dataclasses.replace(bag, exits=tuple(dataclasses.replace(exit_, head_us={1: 0.0}) for exit_ in bag.exits))
    of = controller(bag, [0.2, 0.5, 0.0] if exits_on else [0.0, 0.0, 0.0])
    simulation = Simulation(of, 2, lambda ticket: votes_of(bag, ticket.rows, ticket.id))
    rate = load * 2 / 0.032
    arrivals = np.cumsum(rng(3).exponential(1e6 / rate, 3000))
    simulation.run([(float(at_us), Request(number, 1)) for number, at_us in enumerate(arrivals)])
    real = np.array([release.latency_us for _, release in simulation.releases])
    rows = of.counters.answers.sum(axis=1)
    mix = answer_mix(bag, rows / rows.sum(), cores=2)
    ours = latencies_us(mix if exits_on else mix.plain(), arrivals, 2, rng(4))
    for share in (0.5, 0.99):
        assert np.quantile(ours, share) == pytest.approx(np.quantile(real, share), rel=within)


def test_the_day_has_the_mean_rate_that_was_asked_for() -> None:
    assert diurnal(20.0).answers == pytest.approx(20.0 * 24 * 3600)


def test_a_load_from_a_file_is_read_and_a_wrong_one_named(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    path.write_text("seconds,rate_per_s\n60,1\n60,3\n")
    assert from_csv(path).answers == 240
    for text in (
        "",
        "a,b\n1,2\n",
        "seconds,rate_per_s\n60,x\n",
        "seconds,rate_per_s\n60,1\n30,1\n",
        "seconds,rate_per_s\n60,-1\n",
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"load\.csv"):
            from_csv(path)


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ("usd_per_hour = 0.0816", "usd_per_hour = -1", "usd_per_hour = -1; allowed: a number above 0"),
        ("usd_per_hour", "usd_per_our", "usd_per_our"),
        ("[function]", "[fun]", "section"),
        ("date = 2026-06-17", 'date = "soon"', "allowed: a date"),
    ],
)
def test_a_wrong_price_is_named_by_file_and_key(tmp_path: Path, was: str, becomes: str, message: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(SHIPPED.read_text().replace(was, becomes, 1))
    with pytest.raises(ConfigError, match=message):
        Prices.load(path)


def test_the_same_seed_gives_the_same_table() -> None:
    first, second = (compare(MIX, (1.0, 0.1), diurnal(5.0), PRICES, COLD, seed=7) for _ in range(2))
    assert first == second


def test_the_verb_prints_json_and_draws(
    tiny_exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["cost", str(tiny_exported), "--rate", "5", "--hours", "2", "--json", "--plot", str(tmp_path / "cost.png")]
    assert main(line) == 0
    table = json.loads(capsys.readouterr().out)
    assert [way["answers"] for way in table] == ["plain ensemble", "exits, feedback 1", "exits, feedback 0.1"]
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("extra", [["--rate", "0"], ["--load", "none.csv"], ["--shares", "0.5,x"], ["--feedback", "2"]])
def test_what_cannot_be_simulated_is_said(
    tiny_exported: Path, extra: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cost", str(tiny_exported), *extra]) == 78
    assert extra[-1] in capsys.readouterr().err
