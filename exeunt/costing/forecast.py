"""What clients would see of a bag at one rate: simulated, with an interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exeunt.costing.engine_run import EngineRun
from exeunt.costing.ensemble_run import EnsembleRun
from exeunt.costing.path_costs import PathCosts
from exeunt.costing.plain_run import PlainRun
from exeunt.costing.requests_in_time import Run, answers_per_s, latencies_us
from exeunt.costing.timed_bag import TimedBag

STREAMS, REQUESTS = 8, 1000  # simulated of each: a stream is what somebody might measure
SIMULATED_WITHIN = 0.2  # of measured latencies, see docs/cost.md
CALLERS, CALLS = 16, 600  # who never pause

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What clients would see at one rate.

    Attributes:
        p50_ms: median latency with exits.
        p99_ms: 99th percentile.
        p50_range_ms: nine in ten times within, for arrivals are chance, the shares that leave were seen on few rows,
            and a simulation errs.
        p99_range_ms: likewise.
        plain_p50_ms: of the plain ensemble.
        plain_p99_ms: likewise; infinity beyond what it carries.
        saving: of the mean latency, 0..1; negative where exits are slower.
    """

    rate_per_s: float
    p50_ms: float
    p99_ms: float
    p50_range_ms: Range
    p99_range_ms: Range
    plain_p50_ms: float
    plain_p99_ms: float
    saving: float


def forecast(bag: TimedBag, rate_per_s: float, rows: int, costs: PathCosts) -> Forecast:
    """Simulate some streams, with and without exits.

    Args:
        bag: on its host.
        rate_per_s: of Poisson arrivals.
        rows: on which the shares that leave were seen; 0: they are certain.
        costs: of the way to the members.
    """
    exits_us, plain_us = [], []
    for seed in range(STREAMS):
        rng = np.random.default_rng(seed)
        arrivals_us = np.cumsum(rng.exponential(1e6 / rate_per_s, REQUESTS))
        shares = rng.multinomial(rows, bag.mix.shares) / rows if rows else bag.mix.shares
        exits_us.append(latencies_us(run_with_exits(bag.with_shares(shares), costs, rng), arrivals_us))
        plain_us.append(latencies_us(PlainRun(bag, costs, rng), arrivals_us))
    quantiles = np.quantile(exits_us, [0.5, 0.99], axis=1) / 1000.0
    ranges_ms = [
        (float(low), float(high)) for low, high in zip(*np.quantile(quantiles, [0.05, 0.95], axis=1), strict=True)
    ]
    p50, p99 = np.quantile(exits_us, [0.5, 0.99]) / 1000.0
    beyond = rate_per_s > bag.plain_room_per_s(costs)
    plain_p50, plain_p99 = (np.inf, np.inf) if beyond else np.quantile(plain_us, [0.5, 0.99]) / 1000.0
    return Forecast(
        rate_per_s=rate_per_s,
        p50_ms=float(p50),
        p99_ms=float(p99),
        p50_range_ms=_widened(*ranges_ms[0]),
        p99_range_ms=_widened(*ranges_ms[1]),
        plain_p50_ms=float(plain_p50),
        plain_p99_ms=float(plain_p99),
        saving=1.0 - float(np.mean(exits_us) / np.mean(plain_us)),
    )


def most_per_s(bag: TimedBag, costs: PathCosts, *, plain: bool) -> float:
    """Answers per second to CALLERS who never pause."""
    rng = np.random.default_rng(0)
    return answers_per_s(PlainRun(bag, costs, rng) if plain else run_with_exits(bag, costs, rng), CALLERS, CALLS)


def run_with_exits(bag: TimedBag, costs: PathCosts, rng: np.random.Generator) -> Run:
    """A bag that has answered nothing yet, in its mode."""
    return EngineRun(bag, costs, rng) if bag.mode == "engine" else EnsembleRun(bag, costs, rng)


def _widened(low: float, high: float) -> Range:
    return low * (1.0 - SIMULATED_WITHIN), high * (1.0 + SIMULATED_WITHIN)
