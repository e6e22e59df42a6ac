"""One bag twice, in turns: with stages that end inside members, and with stages of whole members, as before."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from exeunt.contract import MANIFEST_FILE, exit_model, full_model
from exeunt.measuring.arrivals import poisson
from exeunt.measuring.closed_loop import ClosedLoop, run_closed_loop
from exeunt.measuring.perf_metrics import parse, scrape
from exeunt.serving.bags import bag_of
from exeunt.serving.pip_server import Server, serve
from exeunt_client.blocking import Client

LOAD = 0.3  # of the plain ensemble's throughput with four callers
SETTINGS = {"tuner": "static", "gear": "stages", "feedback": 0.1, "shadow_share": 0.0}
SETTLE_S = 3.0  # until feedback is finished and the metrics are published


def variant(repository: Path, bag: str, to: Path, inside: bool) -> Path:
    """A copy of the repository whose stages end inside members, or do not; thresholds are those of calibration."""
    shutil.copytree(repository, to)
    path = to / exit_model(bag) / "1" / MANIFEST_FILE
    table = json.loads(path.read_text())
    table["settings"] |= SETTINGS
    if not inside:
        table["inner_stages"] = []
    path.write_text(json.dumps(table))
    return to


def compared(repository: Path, folder: Path, rows: np.ndarray, turns: int, turn_s: float) -> dict[str, Any]:
    """Throughput of four callers, then latency and work of single rows at LOAD.

    Args:
        repository: of the bag, with its plain ensemble, exported with stages inside members.
        folder: gets the two copies and their state.
        rows: uint8 [rows, ...], asked one at a time.
        turns: of each contender.
        turn_s: length of a turn, seconds.
    """
    manifest = bag_of(repository).manifest
    bag = manifest.bag
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(
                serve(variant(repository, bag, folder / name, name == "inside"), state_dir=folder / f"{name}_state")
            )
            for name in ("inside", "whole")
        }
        contenders = {name: (server, bag) for name, server in servers.items()}
        contenders["plain"] = (servers["whole"], full_model(bag))
        closed_loops = _closed(contenders, rows, turns, turn_s)
        rate_per_s = LOAD * closed_loops["plain"]["rows_per_s"]
        open_loops = _open(contenders, rows, rate_per_s, turns, turn_s)
    return {
        "inner_stages": list(manifest.inner_stages),
        "exits": [list(exit_.depths) for exit_ in manifest.exits],
        "segments_ms": [[segment.cost_us[1] / 1e3 for segment in member.segments] for member in manifest.members],
        "closed_loop": closed_loops,
        "load": {"rate_per_s": rate_per_s, **open_loops},
    }


def _closed(contenders: dict[str, tuple[Server, str]], rows: np.ndarray, turns: int, turn_s: float) -> dict[str, Any]:
    runs: dict[str, list[ClosedLoop]] = {name: [] for name in contenders}
    for turn in range(turns):
        for name in _order(contenders, turn):
            server, model = contenders[name]
            runs[name] += run_closed_loop(f"grpc://{server.grpc_url}", [model], rows, 4, turn_s, 1)
            time.sleep(SETTLE_S)
    return {
        name: {
            "rows_per_s": sum(run.answers for run in loops) / sum(run.seconds for run in loops),
            "p50_ms": float(np.median(np.concatenate([run.latencies_ms for run in loops]))),
            "failed": sum(run.failed for run in loops),
        }
        for name, loops in runs.items()
    }


def _open(
    contenders: dict[str, tuple[Server, str]], rows: np.ndarray, rate_per_s: float, turns: int, turn_s: float
) -> dict[str, Any]:
    """One caller that asks at Poisson times, or as soon as the answer before has come."""
    latencies_ms: dict[str, list[float]] = {name: [] for name in contenders}
    exits: dict[str, list[int]] = {name: [] for name in contenders}
    work = {name: np.zeros(2) for name in contenders}
    for turn in range(turns):
        due_s = poisson(rate_per_s, max(1, int(rate_per_s * turn_s)), turn)
        for name in _order(contenders, turn):
            server, model = contenders[name]
            before = _work_us(server)
            with Client(f"grpc://{server.grpc_url}", model) as client:
                client.infer(rows[:1])
                start_s = time.perf_counter()
                for number, at_s in enumerate(due_s.tolist()):
                    time.sleep(max(0.0, start_s + at_s - time.perf_counter()))
                    place, begun_s = (number + turn * 101) % len(rows), time.perf_counter()
                    answers = client.infer(rows[place : place + 1])
                    latencies_ms[name].append(1e3 * (time.perf_counter() - begun_s))
                    if name != "plain":
                        exits[name].append(int(answers.exits[0]))
            time.sleep(SETTLE_S)
            work[name] += _work_us(server) - before
    summaries: dict[str, Any] = {}
    for name, times_ms in latencies_ms.items():
        p50_ms, p99_ms = np.percentile(times_ms, (50, 99)).tolist()
        summaries[name] = {
            "requests": len(times_ms),
            "p50_ms": p50_ms,
            "mean_ms": float(np.mean(times_ms)),
            "p99_ms": p99_ms,
        }
        if exits[name]:
            summaries[name]["work_per_answer"] = float(work[name][0] / work[name][1])
            summaries[name]["exits"] = np.bincount(exits[name]).tolist()
    return summaries


def _work_us(server: Server) -> np.ndarray:
    """(work, full ensemble's work) of the bag since the start."""
    values = {
        dict(labels).get("name"): value
        for (family, labels), value in parse(scrape(server.metrics_url)).items()
        if family == "exeunt_runner"
    }
    return np.array([values["work_us_total"], values["full_work_us_total"]])


def _order(contenders: dict[str, tuple[Server, str]], turn: int) -> list[str]:
    names = list(contenders)
    return names[turn % len(names) :] + names[: turn % len(names)]
