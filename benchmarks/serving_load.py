"""What the serving benchmark measures: latency, alone and under load, capacity, memory, the engine's own time."""

from __future__ import annotations

import asyncio
import cProfile
import io
import itertools
import pstats
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exeunt.deciding.request import Release, Request
from exeunt.engine.engine import Engine, Host
from exeunt.engine.sessions import Session
from exeunt.hosting.assembly import make_controller
from exeunt.hosting.host import ControllerHost
from exeunt.measuring.arrivals import poisson, take_turns
from exeunt.measuring.load import LoadRun, Traffic, run_load
from exeunt.measuring.perf_metrics import FLUSH_S, parse, scrape
from exeunt.measuring.summary import summarise
from exeunt.serving.bags import bag_of
from exeunt_client.aio import AsyncClient
from exeunt_client.options import NO_OPTIONS, RequestOptions

BLOCK_S = 10.0
BUSY = 0.5  # load from which answered inputs may pile up
GAP_S, BUSY_GAP_S = 1.0, 4.0  # silence after a block, so that nobody pays for what another one has still to finish
BOOTSTRAPS = 300


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

    def to_mapping(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def closed_loop(
    url: str, model: str, images: np.ndarray, callers: int, options: RequestOptions = NO_OPTIONS
) -> np.ndarray:
    """Latencies of one-row requests when `callers` ask without pause; float64 [requests], ms."""

    async def caller(client: AsyncClient, own: np.ndarray) -> list[float]:
        spent = []
        for image in own:
            began_s = time.perf_counter()
            await client.infer({"image": image[None]}, options)
            spent.append(1e3 * (time.perf_counter() - began_s))
        return spent

    async def everybody() -> list[list[float]]:
        async with AsyncClient(url, model) as client:
            return await asyncio.gather(*(caller(client, images[k::callers]) for k in range(callers)))

    return np.concatenate(asyncio.run(everybody()))


def capacity_per_s(url: str, model: str, images: np.ndarray, callers: int = 8) -> float:
    """Full votes per second with several callers who never pause."""
    closed_loop(url, model, images[: 4 * callers], callers)
    began_s = time.perf_counter()
    closed_loop(url, model, images, callers)
    return len(images) / (time.perf_counter() - began_s)


def at_load(
    url: str,
    models: Sequence[str],
    images: np.ndarray,
    load: float,
    rate_per_s: float,
    seed: int,
    reference: np.ndarray | None,
    options: Mapping[str, RequestOptions] | None = None,
) -> tuple[list[Point], LoadRun]:
    """Send one Poisson stream to every model, in turns of BLOCK_S seconds.

    Args:
        url: of the server.
        models: who is asked.
        images: float32 [requests, ...], the stream.
        load: share of the plain ensemble's capacity, for the record.
        rate_per_s: arrivals per second and model.
        seed: of arrivals and bootstrap.
        reference: int [requests], label of the full vote; None: losses are not asked for.
        options: by model.
    """
    blocks = take_turns(models, poisson(rate_per_s, len(images), seed), BLOCK_S)
    gap_s = GAP_S if load < BUSY else BUSY_GAP_S
    run = run_load(url, Traffic({"image": images}, options=options or {}, gap_s=gap_s), blocks)
    return [_point(run, model, load, rate_per_s, seed, reference) for model in models], run


def _point(run: LoadRun, model: str, load: float, rate_per_s: float, seed: int, reference: np.ndarray | None) -> Point:
    told = summarise(run, model, full=reference)
    latency_ms = np.array([1e3 * (o.done_s - o.scheduled_s) for o in run.outcomes[model] if o.answers is not None])
    rng = np.random.default_rng(seed)
    drawn = latency_ms[rng.integers(0, len(latency_ms), (BOOTSTRAPS, len(latency_ms)))]
    p50, p99 = (np.percentile(np.percentile(drawn, wanted, axis=1), (2.5, 97.5)) for wanted in (50, 99))
    return Point(
        model=model,
        load=load,
        rate_per_s=rate_per_s,
        requests=told.requests,
        failed=told.failed,
        p50_ms=told.p50_ms,
        p99_ms=told.p99_ms,
        mean_ms=told.mean_ms,
        p50_range_ms=(float(p50[0]), float(p50[1])),
        p99_range_ms=(float(p99[0]), float(p99[1])),
        exits=told.exits,
        reasons=told.reasons,
        loss=told.loss,
        client_cpu=run.cpu_share,
    )


def memory_mb(pid: int, names: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Proportional set size of the processes of each contender.

    Args:
        pid: of the server; its children are looked through.
        names: contender -> names of the Triton models that are its own.

    Returns:
        contender -> megabytes, pages that processes share counted in parts.
    """
    found = dict.fromkeys(names, 0.0)
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            told = (process / "smaps_rollup").read_text()
        except OSError:
            continue  # it has ended, or is not ours
        for contender, models in names.items():
            if "triton_python_backend_stub" in words and any(f"/{model}/" in words for model in models):
                kilobytes = next(int(line.split()[1]) for line in told.splitlines() if line.startswith("Pss:"))
                found[contender] += kilobytes / 1024
    return found


def promises(metrics_url: str, bags: Sequence[str]) -> dict[str, dict[str, float]]:
    """What the server says of its promise since the start.

    Returns:
        bag -> {"promised_rows", "promised_loss", "lost_rows", "most_unconfirmed_rows", "promise_broken"}; lost rows
        are estimated where feedback is sampled, and unconfirmed ones weighed alike (docs/promise.md, section 5).
    """
    wanted = ("promised_rows", "promised_loss", "lost_rows", "most_unconfirmed_rows", "promise_broken")
    time.sleep(FLUSH_S)
    told = parse(scrape(metrics_url))
    return {bag: {name: told["exeunt_tuner", (("bag", bag), ("name", name))] for name in wanted} for bag in bags}


class _Inline(Engine):
    """The engine without threads: a worker's work is done by whoever calls `drive`."""

    def attach(self, host: Host) -> None:
        self._told = host

    def drive(self) -> None:
        """Run whatever is ready."""
        while True:
            with self._changed:
                run = self._scheduler.next_run(0)
            if run is None:
                return
            self._run(self._told, run)


def own_time(repository: Path, bag: str, images: np.ndarray) -> tuple[dict[str, float], str]:
    """CPU time of controller, scheduler and tuner per input, in this process, and a profile of it.

    The inputs are served by onnxruntime, and by its remembered outputs, with and without tuning. The latter times are
    the engine's own, with warm caches; timing every run by itself would cost more than what is to be measured.

    Args:
        repository: with the bag in engine mode.
        bag: its name.
        images: float32 [inputs, ...], one request each.

    Returns:
        ({"own_us", "tuning_us", "all_us"} per input, the last with the other two; cProfile's table).
    """
    opened = bag_of(repository, bag)
    folder, manifest = opened.folder, opened.manifest
    engine = _Inline(manifest, folder, threads=1)
    keys = itertools.count()
    host = ControllerHost(make_controller(manifest, folder), engine, _forget)

    def serve(some: np.ndarray, tune: bool) -> None:
        for image in some:
            host.submit(Request(next(keys), 1), {"image": image[None]})
            engine.drive()
            job = host.controller.retune() if tune else None
            if job is not None:
                host.controller.adopt(job())

    def per_input_us(tune: bool, rounds: int) -> float:
        """Least of some rounds: the machine may be shared."""
        serve(images[: len(images) // 4], tune)
        spent_s = []
        for _ in range(rounds):
            began_s = time.thread_time()
            serve(images, tune)
            spent_s.append(time.thread_time() - began_s)
        return min(spent_s) / len(images) * 1e6

    all_us = per_input_us(True, 2)
    for session in {id(each): each for each in _sessions(engine)}.values():
        _remember(session)
    own_us, tuned_us = per_input_us(False, 5), per_input_us(True, 5)
    profile = cProfile.Profile()
    profile.runcall(serve, images, True)
    table = io.StringIO()
    pstats.Stats(profile, stream=table).strip_dirs().sort_stats("tottime").print_stats(40)
    return {"own_us": own_us, "tuning_us": max(0.0, tuned_us - own_us), "all_us": all_us}, table.getvalue()


def _forget(release: Release) -> None:
    """Nobody waits for the answers, and keeping them would make the garbage collector's work part of the figure."""


def _sessions(engine: Engine) -> list[Session]:
    segments = engine._segments
    steps = [step.session for member in segments._steps for step in member]
    return steps + [heads for heads in segments._heads if heads is not None]


def _remember(session: Session) -> None:
    """Answer with what the first run of as many rows said."""
    run = session.run
    known: dict[tuple[int, int], list[np.ndarray]] = {}

    def remembered(outputs: list[str], feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        key = len(next(iter(feed.values()))), len(outputs)
        if key not in known:
            known[key] = run(outputs, feed)
        return known[key]

    session.run = remembered  # type: ignore[method-assign]
