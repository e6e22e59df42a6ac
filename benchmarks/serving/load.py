"""Latency alone and under load, capacity, memory, and what the server says of its promise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exeunt.measuring.arrivals import poisson, take_turns
from exeunt.measuring.load import LoadRun, Traffic, run_load
from exeunt.measuring.perf_metrics import FLUSH_S, parse, scrape
from exeunt.measuring.summary import summarise
from exeunt_client.aio import AsyncClient
from exeunt_client.options import NO_OPTIONS, RequestOptions

BLOCK_S = 10.0
BUSY = 0.5  # load from which answered inputs may pile up
GAP_S, BUSY_GAP_S = 1.0, 4.0  # silence after a block, so that nobody pays for what another one has still to finish
BOOTSTRAPS = 300
COURSE_PARTS = 40


@dataclass(frozen=True, slots=True)
class Point:
    """One contender at one load.

    Attributes:
        model: its name.
        load: share of the plain ensemble's capacity that arrived.
        rate_per_s: arrivals.
        requests, failed: sent, and of these without an answer.
        p50_ms, p99_ms, mean_ms: latency from the scheduled arrival.
        p50_range_ms, p99_range_ms: 95 % bootstrap intervals.
        exits: share of answers by exit.
        reasons: share of answers by reason.
        loss: share of answers whose label is not the plain ensemble's; None where that was not asked.
        client_cpu: CPU time of the load generator over wall time, all contenders of the run together.
        quantiles_ms: 101 quantiles of latency, for the picture.
        course: exit -> its share of the answers in COURSE_PARTS equal parts of the stream.
    """

    model: str
    load: float
    rate_per_s: float
    requests: int
    failed: int
    p50_ms: float
    p99_ms: float
    mean_ms: float
    p50_range_ms: tuple[float, float]
    p99_range_ms: tuple[float, float]
    exits: dict[int, float]
    reasons: dict[str, float]
    loss: float | None
    client_cpu: float
    quantiles_ms: list[float]
    course: dict[int, list[float]]

    def to_mapping(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def closed_loop(
    url: str, model: str, rows: np.ndarray, callers: int, options: RequestOptions = NO_OPTIONS
) -> np.ndarray:
    """Latencies of one-row requests when `callers` ask without pause; float64 [requests], ms."""

    async def caller(client: AsyncClient, caller_rows: np.ndarray) -> list[float]:
        times_ms = []
        for row in caller_rows:
            began_s = time.perf_counter()
            await client.infer(row[None], options)
            times_ms.append(1e3 * (time.perf_counter() - began_s))
        return times_ms

    async def everybody() -> list[list[float]]:
        async with AsyncClient(url, model) as client:
            return await asyncio.gather(*(caller(client, rows[k::callers]) for k in range(callers)))

    return np.concatenate(asyncio.run(everybody()))


def capacity_per_s(url: str, model: str, rows: np.ndarray, callers: int = 8) -> float:
    """Answers per second with several callers who never pause."""
    closed_loop(url, model, rows[: 4 * callers], callers)
    began_s = time.perf_counter()
    closed_loop(url, model, rows, callers)
    return len(rows) / (time.perf_counter() - began_s)


def at_load(
    url: str,
    models: Sequence[str],
    inputs: Mapping[str, np.ndarray],
    load: float,
    rate_per_s: float,
    seed: int,
    reference: np.ndarray | None,
    options: Mapping[str, RequestOptions] | None = None,
) -> list[Point]:
    """Send one Poisson stream to every model, in turns of BLOCK_S seconds.

    Args:
        url: of the server.
        models: who is asked.
        inputs: public input -> [requests, ...], the stream.
        load: share of the plain ensemble's capacity, for the record.
        rate_per_s: arrivals per second and model.
        seed: of arrivals and bootstrap.
        reference: int [requests], label of the full vote; None: losses are not asked for.
        options: by model.
    """
    rows = len(next(iter(inputs.values())))
    blocks = take_turns(models, poisson(rate_per_s, rows, seed), BLOCK_S)
    gap_s = GAP_S if load < BUSY else BUSY_GAP_S
    run = run_load(url, Traffic(inputs, options=options or {}, gap_s=gap_s), blocks)
    return [_point(run, model, load, rate_per_s, seed, reference) for model in models]


def _point(run: LoadRun, model: str, load: float, rate_per_s: float, seed: int, reference: np.ndarray | None) -> Point:
    summary = summarise(run, model, full=reference)
    latency_ms = np.array([1e3 * (o.done_s - o.scheduled_s) for o in run.outcomes[model] if o.answers is not None])
    rng = np.random.default_rng(seed)
    resamples = latency_ms[rng.integers(0, len(latency_ms), (BOOTSTRAPS, len(latency_ms)))]
    p50, p99 = (np.percentile(np.percentile(resamples, percent, axis=1), (2.5, 97.5)) for percent in (50, 99))
    return Point(
        model=model,
        load=load,
        rate_per_s=rate_per_s,
        requests=summary.requests,
        failed=summary.failed,
        p50_ms=summary.p50_ms,
        p99_ms=summary.p99_ms,
        mean_ms=summary.mean_ms,
        p50_range_ms=(float(p50[0]), float(p50[1])),
        p99_range_ms=(float(p99[0]), float(p99[1])),
        exits=summary.exits,
        reasons=summary.reasons,
        loss=summary.loss,
        client_cpu=run.cpu_share,
        quantiles_ms=np.percentile(latency_ms, np.arange(101)).tolist(),
        course=_course(run, model),
    )


def _course(run: LoadRun, model: str) -> dict[int, list[float]]:
    """Share of answers by exit along the stream."""
    answered_outcomes = sorted(
        (o for o in run.outcomes[model] if o.answers is not None), key=lambda outcome: outcome.request
    )
    exits = np.array([int(o.answers.exits[0]) for o in answered_outcomes if o.answers is not None])
    parts = np.array_split(exits, min(COURSE_PARTS, len(exits)))
    return {int(exit_): [float((part == exit_).mean()) for part in parts] for exit_ in np.unique(exits)}


def memory_mb(pid: int, names: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Proportional set size of the processes of each contender.

    Args:
        pid: of the server; its children are looked through.
        names: contender -> names of the Triton models that are its own.

    Returns:
        contender -> megabytes, pages that processes share counted in parts.
    """
    megabytes = dict.fromkeys(names, 0.0)
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            memory_map = (process / "smaps_rollup").read_text()
        except OSError:
            continue  # it has ended, or is not ours
        for contender, models in names.items():
            if "triton_python_backend_stub" in words and any(f"/{model}/" in words for model in models):
                kilobytes = next(int(line.split()[1]) for line in memory_map.splitlines() if line.startswith("Pss:"))
                megabytes[contender] += kilobytes / 1024
    return megabytes


def promises(metrics_url: str, bags: Sequence[str]) -> dict[str, dict[str, float]]:
    """What the server says of its promise since the start.

    Returns:
        bag -> {"promised_rows", "promised_loss", "lost_rows", "most_unconfirmed_rows", "promise_broken"}; lost rows
        are estimated where feedback is sampled, and unconfirmed ones weighed alike (docs/promise.md, section 5).
    """
    metric_names = ("promised_rows", "promised_loss", "lost_rows", "most_unconfirmed_rows", "promise_broken")
    time.sleep(FLUSH_S)
    values = parse(scrape(metrics_url))
    return {
        bag: {name: values["exeunt_tuner", (("bag", bag), ("name", name))] for name in metric_names} for bag in bags
    }
