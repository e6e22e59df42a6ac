"""Load tests with perf_analyzer: the early-exit model and the plain ensemble on the same replayed inputs, in turns.

perf_analyzer brings the load and the latencies that Triton's users know. It knows nothing of exits, so the controller's
metrics are read before and after each of its runs. Random inputs would make exits meaningless: the inputs are a stream
with its real mix of easy and hard.
"""

from __future__ import annotations

import base64
import csv
import dataclasses
import json
import math
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exeunt.errors import ConfigError, ServingError
from exeunt.measuring.perf_binary import PerfAnalyzer
from exeunt.measuring.perf_metrics import FLUSH_S, Exits, exits_of, scrape

PROTOCOLS = ("grpc", "http")
WARM_UP_REQUESTS = 50
_MOST_LEVELS = 50


@dataclass(frozen=True, slots=True)
class LoadLevel:
    """One level of load: `concurrency` requests always in flight, or `rate` requests a second, Poisson."""

    kind: str
    level: float

    def flags(self) -> list[str]:
        """perf_analyzer's flags for it."""
        if self.kind == "concurrency":
            return [f"--concurrency-range={self.level:g}"]
        return [f"--request-rate-range={self.level:g}", "--request-distribution=poisson"]


@dataclass(frozen=True, slots=True)
class PerfRun:
    """One run of perf_analyzer.

    Attributes:
        model: Triton model.
        kind: "concurrency" or "rate".
        level: requests in flight, or requests per second sent.
        throughput: requests per second answered.
        latency_ms: "mean", "p50", "p90", "p95", "p99" -> milliseconds.
        server_ms: perf_analyzer's split of the mean by its own names ("Server Queue", ...); for an ensemble the sums
            over its steps, which run at the same time.
        exits: exit -> share of rows; empty for models without exits.
        loss: share of rows that were losses; None for models without exits.
        failed: requests that failed.
        command: the command line, for repeating it by hand.
    """

    model: str
    kind: str
    level: float
    throughput: float
    latency_ms: dict[str, float]
    server_ms: dict[str, float]
    exits: dict[str, float]
    loss: float | None
    failed: int
    command: list[str]


@dataclass(frozen=True, slots=True)
class PerfPlan:
    """What to measure.

    Attributes:
        bag: the public model; the only one with exits.
        models: Triton models, in turns at each level.
        loads: levels.
        requests: per run.
        protocol: "grpc" or "http".
        address: "HOST:PORT".
        metrics_url: of the server.
        rows: batch of each request.
    """

    bag: str
    models: tuple[str, ...]
    loads: tuple[LoadLevel, ...]
    requests: int
    protocol: str
    address: str
    metrics_url: str
    rows: int = 1


def levels(text: str, option: str) -> list[float]:
    """Parse START:END:STEP, START:END or a single level, as perf_analyzer writes ranges.

    Raises:
        ConfigError: not that, not above 0, or too many levels.
    """
    parts = text.split(":")
    try:
        if len(parts) > 3:
            raise ValueError
        start, end, step = map(float, parts if len(parts) == 3 else [parts[0], parts[-1], "1"])
        count = math.floor((end - start) / step + 1e-9) + 1 if step > 0 else 0
    except ValueError:
        count, start, step = 0, 0.0, 0.0
    if not (1 <= count <= _MOST_LEVELS and start > 0):
        raise ConfigError(f"{option} {text!r}; allowed: START:END:STEP above 0 with at most {_MOST_LEVELS} levels")
    return [start + number * step for number in range(count)]


def write_replay(inputs: Mapping[str, np.ndarray], path: Path, most: int = 2000) -> int:
    """Write perf_analyzer's input file: the rows of a stream, in order, as base64.

    Args:
        inputs: public input -> [stream rows, ...].
        path: file to write.
        most: rows to take, evenly spaced over the stream.

    Returns:
        number of rows written.

    Raises:
        ConfigError: no rows, or inputs that differ in rows.
    """
    counts = {name: len(array) for name, array in inputs.items()}
    if not counts or min(counts.values()) == 0 or len(set(counts.values())) > 1:
        raise ConfigError(f"replay: rows by input {counts}; allowed: the same number of rows, at least one, for each")
    total = next(iter(counts.values()))
    rows_sent = np.unique(np.linspace(0, total - 1, min(most, total)).astype(int))
    entries = [
        {
            name: {"b64": base64.b64encode(np.ascontiguousarray(array[row]).tobytes()).decode()}
            for name, array in inputs.items()
        }
        for row in rows_sent
    ]
    path.write_text(json.dumps({"data": entries}), encoding="utf-8")
    return len(entries)


def run_plan(
    plan: PerfPlan,
    analyzer: PerfAnalyzer,
    replay: Path,
    folder: Path,
    progress: Callable[[str], None] = lambda line: None,
) -> list[PerfRun]:
    """Run everything, models in turns at each level, so that a noisy host is noisy for all.

    Args:
        plan: what to measure.
        analyzer: the tool.
        replay: file that `write_replay` wrote.
        folder: gets perf_analyzer's CSV and JSON files.
        progress: called with a line before each run.

    Raises:
        ServingError: perf_analyzer failed; shows what it said.
    """
    for model in plan.models:
        progress(f"warm up {model}")
        warm = dataclasses.replace(plan, requests=WARM_UP_REQUESTS)
        _analyze(warm, analyzer, model, LoadLevel("concurrency", 2), replay, folder / f"{model}_warm_up")
    runs = []
    for load in plan.loads:
        for model in plan.models:
            progress(f"{model}: {load.kind} {load.level:g}")
            runs.append(_measure(plan, analyzer, model, load, replay, folder))
    return runs


def _measure(
    plan: PerfPlan, analyzer: PerfAnalyzer, model: str, load: LoadLevel, replay: Path, folder: Path
) -> PerfRun:
    stem = folder / f"{model}_{load.kind}_{load.level:g}"
    before = _exits(plan)
    command = _analyze(plan, analyzer, model, load, replay, stem)
    exit_counts = _exits(plan) - before if model == plan.bag else None
    columns = read_csv(stem.with_suffix(".csv"))
    profile = read_profile(stem.with_suffix(".json"))
    latencies_us = profile.latencies_us
    p50, p90, p95, p99 = np.percentile(latencies_us, (50, 90, 95, 99)) / 1000
    return PerfRun(
        model=model,
        kind=load.kind,
        level=load.level,
        throughput=profile.throughput,
        latency_ms={"mean": float(latencies_us.mean() / 1000), "p50": p50, "p90": p90, "p95": p95, "p99": p99},
        server_ms={
            name: value / 1000 for name, value in columns.items() if name.startswith(("Server", "Network", "Client"))
        },
        exits=exit_counts.shares() if exit_counts else {},
        loss=exit_counts.loss if exit_counts else None,
        failed=profile.failed,
        command=command,
    )


def _analyze(
    plan: PerfPlan, analyzer: PerfAnalyzer, model: str, load: LoadLevel, replay: Path, stem: Path
) -> list[str]:
    """One run; writes STEM.csv, STEM.json and STEM.log."""
    command = [
        str(analyzer.binary),
        *("-m", model, "-u", plan.address, "-i", plan.protocol, "-b", str(plan.rows)),
        *load.flags(),
        *(f"--request-count={plan.requests}", f"--input-data={replay}"),
        *("-f", f"{stem}.csv", f"--profile-export-file={stem}.json", "--async"),
    ]
    ended = subprocess.run(command, env=analyzer.environment, capture_output=True, text=True, check=False)
    stem.with_suffix(".log").write_text(ended.stdout + ended.stderr, encoding="utf-8")
    if ended.returncode or not stem.with_suffix(".csv").exists():
        text = "\n".join((ended.stdout + ended.stderr).strip().splitlines()[-8:])
        raise ServingError(
            f"perf_analyzer on {model} at {load.kind} {load.level:g}, status {ended.returncode}:\n{text}"
        )
    return command


def read_csv(path: Path) -> dict[str, float]:
    """The one row of numbers that perf_analyzer writes for one level, by column."""
    with path.open(newline="", encoding="utf-8") as file:
        lines: Sequence[list[str]] = [line for line in csv.reader(file) if line]
    return {name: float(value) for name, value in zip(lines[0], lines[1], strict=False) if value}


@dataclass(frozen=True, slots=True)
class Profile:
    """perf_analyzer's record of one run, request by request.

    Attributes:
        latencies_us: float64 [requests answered].
        throughput: requests answered per second, from the first request to the last answer. (The CSV's figure is the
            share of a fixed window: too low for a run that ends within it.)
        failed: requests without an answer.
    """

    latencies_us: np.ndarray
    throughput: float
    failed: int


def read_profile(path: Path) -> Profile:
    """Read perf_analyzer's profile export.

    Raises:
        ServingError: no request was answered.
    """
    profile = json.loads(path.read_text(encoding="utf-8"))
    requests = [request for experiment in profile["experiments"] for request in experiment["requests"]]
    answered = [
        (request_["timestamp"], request_["response_timestamps"][-1])
        for request_ in requests
        if request_["response_timestamps"]
    ]
    if not answered:
        raise ServingError(f"{path}: perf_analyzer got no answer")
    sent_ns, back_ns = np.array(answered, dtype=np.int64).T
    throughput = len(answered) / ((back_ns.max() - sent_ns.min()) / 1e9)
    return Profile((back_ns - sent_ns) / 1000.0, float(throughput), len(requests) - len(answered))


def _exits(plan: PerfPlan) -> Exits:
    time.sleep(FLUSH_S)
    return exits_of(scrape(plan.metrics_url), plan.bag)
