"""Replicas behind the balancer, asked by an open-loop load."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from exeunt.measuring.arrivals import poisson, take_turns
from exeunt.measuring.load import LoadRun, Traffic, run_load
from exeunt.measuring.summary import stream_labels, summarise
from exeunt_client.options import RequestOptions
from exeunt_export.export_bag import export_bag
from tests.deploy.balancer import Balancer, Fleet, running_balancer
from tests.deploy.callers import Callers
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag

MOST_REPLICAS = 3
BAG = "tiny"
FULL_MS = 200.0  # time of one sleeping worker for a full vote of one row
WORKERS = 4  # of a sleeping replica: so many segments sleep at a time
PER_S = 1000.0 * WORKERS / FULL_MS  # full votes that a sleeping replica's workers can do
LOADS = (0.4, 0.7, 1.0, 1.3, 1.6)  # arrivals, in shares of that
MAX_LOSS = 0.2  # of nets that were never trained: their exits agree too little for less
WARM_UP_S = 60.0
OPTIONS = f"max_loss = {MAX_LOSS}\nworkers = {WORKERS}"
ROWS = noise_rows(512, 5, 16)


@contextmanager
def fleet(folder: Path, binary: str, backends: dict[str, Path] | None = None) -> Iterator[Fleet]:
    """Three replicas of a small bag in engine mode, behind a balancer."""
    folder.mkdir()
    repository = export_bag(
        tiny_bag(folder, mode="engine", members=2, exit_table=OPTIONS), folder / "repository"
    ).output
    if backends:
        slow_down(repository)
    with running_balancer(folder, binary) as balancer:
        replicas = Fleet(repository, folder, balancer, backends)
        try:
            for _ in range(MOST_REPLICAS):
                replicas.start()
            yield replicas
        finally:
            replicas.close()


def slow_down(repository: Path) -> None:
    """Write times into a manifest that add up to FULL_MS; nothing learnt depends on them."""
    path = repository / f"{BAG}_exit" / "1" / "manifest.json"
    table = json.loads(path.read_text())
    rows_us = [segment["cost_us"] for member in table["members"] for segment in member["segments"]]
    times = 1000.0 * FULL_MS / sum(us_by_rows["1"] for us_by_rows in rows_us)
    for us_by_rows in (*rows_us, *(exit_["elapsed_us"] for exit_ in table["exits"])):
        us_by_rows.update({rows: us * times for rows, us in us_by_rows.items()})
    path.write_text(json.dumps(table))


def scaling(folder: Path, binary: str, turns: int, turn_s: float) -> list[dict[str, Any]]:
    """Latency by replicas and load, members asleep; numbers of replicas take turns at every load."""
    with fleet(folder, binary, {"exit_controller": Path(__file__).parent / "exit_controller"}) as replicas:
        everybody = list(replicas.all)
        _await_replicas(replicas.balancer, len(everybody))
        _play(replicas.balancer, MOST_REPLICAS * PER_S, WARM_UP_S, seed=0)
        return [point for load in LOADS for point in _one_load(replicas.balancer, everybody, load, turns, turn_s)]


def _one_load(
    balancer: Balancer, everybody: list[str], load: float, turns: int, turn_s: float
) -> Iterator[dict[str, Any]]:
    latencies_ms: dict[int, list[float]] = {count + 1: [] for count in range(len(everybody))}
    failed, early = dict.fromkeys(latencies_ms, 0), dict.fromkeys(latencies_ms, 0.0)
    for turn in range(turns):
        for shift in range(len(everybody)):
            count = (turn + shift) % len(everybody) + 1
            balancer.names.addresses[:] = everybody[:count]
            _await_replicas(balancer, count)
            run = _play(balancer, count * load * PER_S, turn_s, seed=1 + turn)
            answered_outcomes = [outcome for outcome in run.outcomes[BAG] if outcome.answers is not None]
            latencies_ms[count] += [1e3 * (outcome.done_s - outcome.scheduled_s) for outcome in answered_outcomes]
            failed[count] += len(run.outcomes[BAG]) - len(answered_outcomes)
            early[count] += summarise(run, BAG).reasons.get("early", 0.0) / turns
    for count, times_ms in latencies_ms.items():
        p50_ms, p99_ms = np.percentile(times_ms, (50, 99))
        yield {
            "replicas": count,
            "load": load,
            "rate_per_s": count * load * PER_S,
            "requests": len(times_ms),
            "failed": failed[count],
            "early": early[count],
            "p50_ms": float(p50_ms),
            "p99_ms": float(p99_ms),
        }
        print(f"{count} replicas, load {load}: p50 {p50_ms:.0f} ms, p99 {p99_ms:.0f} ms", flush=True)


def _play(balancer: Balancer, rate_per_s: float, seconds: float, seed: int) -> LoadRun:
    requests = max(1, int(rate_per_s * seconds))
    images = np.resize(ROWS, (requests, *ROWS.shape[1:]))
    blocks = take_turns([BAG], poisson(rate_per_s, requests, seed), 1e9)
    return run_load(f"grpc://{balancer.grpc}", Traffic({"IMAGE": images}, warm_up=1), blocks)


def _await_replicas(balancer: Balancer, count: int) -> None:
    """Wait until the balancer deals out to exactly so many."""
    metric_lines = {f'haproxy_backend_active_servers{{proxy="{kind}"}} {count}' for kind in ("http", "grpc")}
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s:
        with urllib.request.urlopen(f"http://{balancer.metrics}/metrics", timeout=10) as page:
            if metric_lines <= set(page.read().decode().splitlines()):
                return
        time.sleep(0.1)
    raise AssertionError(f"the balancer does not come to {count} replicas")


def correctness(folder: Path, binary: str) -> dict[str, Any]:
    """Real members: who asks for full votes gets the same from everybody, and who does not keeps the promise."""
    with fleet(folder, binary) as replicas:
        balancer, stream = replicas.balancer, np.resize(ROWS, (3000, *ROWS.shape[1:]))
        _await_replicas(balancer, MOST_REPLICAS)
        direct = _labels(f"grpc://{next(iter(replicas.all))}:8001", ROWS, "never")[0]
        figures: dict[str, Any] = {"max_loss": MAX_LOSS}
        for url in (f"grpc://{balancer.grpc}", f"http://{balancer.http}"):
            labels, failed = _labels(url, ROWS, "never")
            early, early_failed = _labels(url, stream)
            figures[url.split(":")[0]] = {
                "full_votes": len(labels),
                "full_votes_that_differ": int((labels != direct).sum()),
                "requests": len(early),
                "loss": float((early != np.resize(direct, len(early))).mean()),
                "failed": failed + early_failed,
            }
        figures["rows_by_replica"] = [_answered(address) for address in replicas.all]
        return figures


def _labels(url: str, rows: np.ndarray, exit_: str | None = None) -> tuple[np.ndarray, int]:
    blocks = take_turns([BAG], poisson(60.0, len(rows), seed=3), 1e9)
    options = {BAG: RequestOptions(exit="never")} if exit_ else {}
    outcomes = run_load(url, Traffic({"IMAGE": rows}, options=options, warm_up=1), blocks).outcomes[BAG]
    return stream_labels(outcomes), sum(outcome.answers is None for outcome in outcomes)


def _answered(address: str) -> int:
    with urllib.request.urlopen(f"http://{address}:8002/metrics", timeout=10) as page:
        return int(
            sum(map(float, re.findall(r"^exeunt_answers_total\{.*\} (\S+)$", page.read().decode(), re.MULTILINE)))
        )


def kills(folder: Path, binary: str, times: int) -> dict[str, Any]:
    """What six callers see when a replica is killed with everything that belongs to it, so many times."""
    with fleet(folder, binary) as replicas:
        failed: dict[str, list[int]] = {"grpc": [], "http": []}
        with Callers(replicas.balancer.http, replicas.balancer.grpc, ROWS[:1]) as callers:
            for _ in range(times):
                _await_replicas(replicas.balancer, MOST_REPLICAS)
                before = {kind: len(texts) for kind, texts in callers.failed.items()}
                answers_before = callers.total()
                address = next(iter(replicas.all))
                replicas.kill(address)
                while callers.total() < answers_before + 300:
                    time.sleep(0.05)
                for kind, texts in callers.failed.items():
                    failed[kind].append(len(texts) - before[kind])
                replicas.start()
        return {"times": times, "failed": failed, "said": sorted(set(callers.failures()))[:5]}
