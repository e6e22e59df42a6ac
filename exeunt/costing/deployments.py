"""Ways to deploy a bag: what each costs and how long its answers take, under a load."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from exeunt.costing.answers import AnswerMix
from exeunt.costing.load import Load
from exeunt.costing.prices import Prices
from exeunt.costing.waiting import latencies_us

MOST_ARRIVALS = 3000  # simulated of each step of a load: enough for its quantiles
BUSY_SHARE = 0.6  # of its cores that an autoscaler lets a replica use before it adds another
IDLE_S = 600.0  # without a request, after which a warm function or a replica that may scale to zero is gone


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Seconds from nothing to the first answer.

    Attributes:
        machine_s: of a replica.
        function_s: of a function with the bag, or with one member.
    """

    machine_s: float = 30.0
    function_s: float = 5.0


@dataclass(frozen=True, slots=True)
class DeploymentOutcome:
    """One deployment under one load.

    Attributes:
        usd_per_1000: dollars per 1000 answers; infinity where a machine cannot carry the load.
        p50_ms: median latency; infinity likewise.
        p99_ms: 99th percentile.
        replicas: machines, at most; 0 for functions.
    """

    deployment: str
    usd_per_1000: float
    p50_ms: float
    p99_ms: float
    replicas: int = 0


Deployment = Callable[[AnswerMix, Load, Prices, ColdStart, np.random.Generator], DeploymentOutcome]


def one_machine(
    mix: AnswerMix, load: Load, prices: Prices, cold: ColdStart, rng: np.random.Generator
) -> DeploymentOutcome:
    """One rented machine, always on."""
    del cold
    replicas = [1] * len(load.rates_per_s)
    return _machines("one machine", mix, load, prices, replicas, rng)


def autoscaled(
    mix: AnswerMix, load: Load, prices: Prices, cold: ColdStart, rng: np.random.Generator
) -> DeploymentOutcome:
    """As many machines as keep the cores busy up to BUSY_SHARE, at least one."""
    del cold
    return _machines("autoscaled", mix, load, prices, _replicas(mix, load, prices.machine.cores, least=1), rng)


def scaled_to_zero(
    mix: AnswerMix, load: Load, prices: Prices, cold: ColdStart, rng: np.random.Generator
) -> DeploymentOutcome:
    """As autoscaled, but without a machine while no request comes; the first request then waits for one."""
    cores = prices.machine.cores
    replicas = _replicas(mix, load, cores, least=0)
    arrivals = load.arrivals_us(MOST_ARRIVALS, rng)
    steps_us, seconds = [], 0.0
    for own_us, count, before in zip(arrivals, replicas, _rates_before(load), strict=True):
        waits_us, on_s = _first_waits(own_us, cold.machine_s, warm=before * IDLE_S > 1.0)
        always = count > 1 or len(own_us) == MOST_ARRIVALS  # more requests follow those that are simulated
        seconds += count * load.step_s if always else min(load.step_s, on_s)
        steps_us.append(_shared_us(mix, own_us, max(1, count), cores, rng) + (0.0 if count > 1 else waits_us))
    usd = seconds / 3600.0 * prices.machine.usd_per_hour
    return _outcome("scale to zero", usd, load, steps_us, max(replicas))


def function_per_answer(
    mix: AnswerMix, load: Load, prices: Prices, cold: ColdStart, rng: np.random.Generator
) -> DeploymentOutcome:
    """One function with the whole bag, members one after the other on its core; it answers, then finishes feedback."""
    steps_us, usd = [], 0.0
    arrivals = load.arrivals_us(MOST_ARRIVALS, rng)
    for own_us, rate, before in zip(arrivals, load.rates_per_s, _rates_before(load), strict=True):
        exits = mix.drawn(len(own_us), rng)
        answer_us = mix.work_us[exits]
        rest_us = np.where(rng.random(len(exits)) < mix.feedback, mix.full_work_us - answer_us, 0.0)
        steps_us.append(answer_us + _cold_us(own_us, answer_us + rest_us, cold.function_s, before))
        call_usd = [prices.function.usd(run_us / 1000.0) for run_us in (answer_us + rest_us).tolist()]
        usd += float(np.mean(call_usd or [0.0])) * float(rate) * load.step_s
    return _outcome("function per answer", usd, load, steps_us)


def function_per_member(
    mix: AnswerMix, load: Load, prices: Prices, cold: ColdStart, rng: np.random.Generator
) -> DeploymentOutcome:
    """A function per member under a step machine, side by side: max(t) instead of sum(t); all run to the end."""
    member_us = np.array(mix.member_us)
    transitions = len(member_us) + 3  # start, one into each branch, the vote, the end
    step = prices.step_machine
    usd_per_answer = transitions * step.usd_per_transition + sum(
        prices.function.usd(us / 1000.0) for us in mix.member_us
    )
    steps_us = []
    for own_us, before in zip(load.arrivals_us(MOST_ARRIVALS, rng), _rates_before(load), strict=True):
        starts_us = np.array([_cold_us(own_us, np.full(len(own_us), us), cold.function_s, before) for us in member_us])
        slowest_us = (member_us[:, None] + starts_us).max(axis=0) if len(own_us) else np.zeros(0)
        steps_us.append(slowest_us + 3 * 1000.0 * step.transition_ms)
    return _outcome("function per member", usd_per_answer * load.answers, load, steps_us)


DEPLOYMENTS: tuple[Deployment, ...] = (
    one_machine,
    autoscaled,
    scaled_to_zero,
    function_per_answer,
    function_per_member,
)


def break_even_per_s(mix: AnswerMix, prices: Prices) -> float:
    """Rate above which one machine, always on, is cheaper than a function per answer; perhaps more than it carries."""
    usd = sum(
        share * prices.function.usd((work_us + mix.feedback * (mix.full_work_us - work_us)) / 1000.0)
        for share, work_us in zip(mix.shares, mix.work_us, strict=True)
    )
    return prices.machine.usd_per_hour / 3600.0 / float(usd)


def carried_per_s(mix: AnswerMix, cores: int) -> float:
    """Rate that a machine's cores can work off."""
    return mix.full_speed(cores) * 1e6 / mix.mean_work_us


def _replicas(mix: AnswerMix, load: Load, cores: int, least: int) -> list[int]:
    room = BUSY_SHARE * carried_per_s(mix, cores)
    return [max(least, math.ceil(rate / room)) for rate in load.rates_per_s.tolist()]


def _machines(
    name: str, mix: AnswerMix, load: Load, prices: Prices, replicas: Sequence[int], rng: np.random.Generator
) -> DeploymentOutcome:
    cores = prices.machine.cores
    usd = sum(replicas) * load.step_s / 3600.0 * prices.machine.usd_per_hour
    for rate, count in zip(load.rates_per_s.tolist(), replicas, strict=True):
        if rate > count * cores * 1e6 / float(mix.shares @ mix.work_us):  # feedback can be left out, answers cannot
            return DeploymentOutcome(name, math.inf, math.inf, math.inf, max(replicas))
    arrivals = load.arrivals_us(MOST_ARRIVALS, rng)
    steps_us = [_shared_us(mix, own_us, count, cores, rng) for own_us, count in zip(arrivals, replicas, strict=True)]
    return _outcome(name, usd, load, steps_us, max(replicas))


def _shared_us(
    mix: AnswerMix, arrivals_us: np.ndarray, replicas: int, cores: int, rng: np.random.Generator
) -> np.ndarray:
    """Latencies where a balancer deals requests out in turn."""
    parts = [latencies_us(mix, arrivals_us[first::replicas], cores, rng) for first in range(replicas)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _rates_before(load: Load) -> list[float]:
    """Rate of the step before each; before the first comes the last."""
    return [float(rate) for rate in np.roll(load.rates_per_s, 1)]


def _first_waits(arrivals_us: np.ndarray, cold_s: float, warm: bool) -> tuple[np.ndarray, float]:
    """How long requests wait for one replica that is removed after IDLE_S without any, and the seconds that it exists.

    Args:
        arrivals_us: from the beginning of the step.
        cold_s: until a replica answers.
        warm: there is one at the beginning.
    """
    waits_us = np.zeros(len(arrivals_us))
    gone_us, on_s, ready_us = (1e6 * IDLE_S, IDLE_S, 0.0) if warm else (0.0, 0.0, 0.0)
    for number, now_us in enumerate(arrivals_us.tolist()):
        if now_us >= gone_us:
            ready_us = now_us + 1e6 * cold_s
            gone_us = now_us
        until_us = max(now_us, ready_us) + 1e6 * IDLE_S
        on_s += (until_us - gone_us) / 1e6
        gone_us = until_us
        waits_us[number] = max(0.0, ready_us - now_us)
    return waits_us, on_s


def _cold_us(arrivals_us: np.ndarray, run_us: np.ndarray, cold_s: float, rate_before: float) -> np.ndarray:
    """How long calls wait for a new instance, where none is free or all were idle for too long.

    Args:
        arrivals_us: from the beginning of the step.
        run_us: of each call.
        cold_s: until a new instance answers.
        rate_before: calls per second before the step: as many instances as they needed are there.
    """
    waits_us = np.zeros(len(arrivals_us))
    if not len(arrivals_us):
        return waits_us
    busy = rate_before * float(run_us.mean()) / 1e6
    there = math.ceil(busy + 3.0 * math.sqrt(busy)) if rate_before * IDLE_S > 1.0 else 0
    free_us = [-1e6 / rate_before] * there  # when each instance became or becomes free
    for number, (now_us, own_us) in enumerate(zip(arrivals_us.tolist(), run_us.tolist(), strict=True)):
        free_us = [at_us for at_us in free_us if now_us - at_us < 1e6 * IDLE_S]
        warm = [place for place, at_us in enumerate(free_us) if at_us <= now_us]
        if warm:
            free_us[max(warm, key=free_us.__getitem__)] = now_us + own_us
        else:
            waits_us[number] = 1e6 * cold_s
            free_us.append(now_us + 1e6 * cold_s + own_us)
    return waits_us


def _outcome(name: str, usd: float, load: Load, steps_us: Sequence[np.ndarray], replicas: int = 0) -> DeploymentOutcome:
    """Quantiles over all steps, each as heavy as the requests that it stands for."""
    steps = [
        (step_us, rate * load.step_s / len(step_us))
        for step_us, rate in zip(steps_us, load.rates_per_s, strict=True)
        if len(step_us)
    ]
    if not steps:
        return DeploymentOutcome(name, 0.0, 0.0, 0.0, replicas)
    values = np.concatenate([step_us for step_us, _ in steps])
    weights = np.concatenate([np.full(len(step_us), weight) for step_us, weight in steps])
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    p50_us, p99_us = (float(values[order][np.searchsorted(reached, share)]) for share in (0.5, 0.99))
    return DeploymentOutcome(name, 1000.0 * usd / load.answers, p50_us / 1000.0, p99_us / 1000.0, replicas)
