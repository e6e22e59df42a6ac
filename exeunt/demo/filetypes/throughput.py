"""The highest rate at which each contender keeps its p99 below one limit, the same for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exeunt.demo.filetypes.prepare import PreparedFiletypes, stream_of
from exeunt.measuring.arrivals import poisson, take_turns
from exeunt.measuring.load import Traffic, run_load
from exeunt.measuring.summary import summarise

STEPS = (0.7, 1.0, 1.4, 2.0, 2.8)  # arrivals, in what the plain ensemble does in a closed loop
STEP_S = 4.0


@dataclass(frozen=True, slots=True)
class Throughput:
    """One contender.

    Attributes:
        model: its name.
        limit_ms: of p99.
        rate_per_s: the highest rate tried up to which p99 kept the limit; 0 where the first did not.
        tried: (arrivals per second, p99 in ms) of every step, in order.
    """

    model: str
    limit_ms: float
    rate_per_s: float
    tried: tuple[tuple[float, float], ...]


def throughput_at(
    prepared: PreparedFiletypes,
    url: str,
    models: Sequence[str],
    limit_ms: float,
    capacity_per_s: float,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> list[Throughput]:
    """Raise the rate step by step for all contenders in turns; whose p99 is above the limit drops out.

    Args:
        prepared: the bag that is served.
        url: `grpc://HOST:PORT`.
        models: contenders.
        limit_ms: p99 to keep.
        capacity_per_s: what STEPS are multiples of.
        seed: of files and arrivals.
        progress: takes (what, steps done, total).
    """
    tried: dict[str, list[tuple[float, float]]] = {model: [] for model in models}
    contenders = list(models)
    for number, step in enumerate(STEPS, start=1):
        rate_per_s = step * capacity_per_s
        for model, p99_ms in _p99_ms(prepared, url, contenders, rate_per_s, seed).items():
            tried[model].append((rate_per_s, p99_ms))
        contenders = [model for model in contenders if tried[model][-1][1] <= limit_ms]
        progress("throughput at equal p99", number if contenders else len(STEPS), len(STEPS))
        if not contenders:
            break
    rates = {model: [rate for rate, p99_ms in steps if p99_ms <= limit_ms] for model, steps in tried.items()}
    return [Throughput(model, limit_ms, max(rates[model], default=0.0), tuple(tried[model])) for model in models]


def _p99_ms(
    prepared: PreparedFiletypes, url: str, models: Sequence[str], rate_per_s: float, seed: int
) -> dict[str, float]:
    rows = int(rate_per_s * STEP_S)
    stream = stream_of(prepared.test, rows, seed)
    blocks = take_turns(models, poisson(rate_per_s, rows, seed), STEP_S / 2)
    traffic = Traffic({prepared.manifest.public_inputs[0].name: stream.rows}, warm_up=2)
    run = run_load(url, traffic, blocks)
    return {model: summarise(run, model).p99_ms for model in models}
