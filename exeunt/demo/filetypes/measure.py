"""Measures the served bag beside its contenders: the plain ensemble, and the best member alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from exeunt.contract import full_model, member_model
from exeunt.demo.accuracies import best_member
from exeunt.demo.filetypes.prepare import FileStream, PreparedFiletypes, stream_of
from exeunt.demo.filetypes.throughput import Throughput, throughput_at
from exeunt.measuring.arrivals import poisson, take_turns
from exeunt.measuring.closed_loop import ClosedLoop, run_closed_loop
from exeunt.measuring.load import LoadRun, Traffic, run_load
from exeunt.measuring.summary import Summary, stream_labels, summarise

LOADS = (0.3, 0.8)  # of what the plain ensemble can do in a closed loop
CALLERS = 4
BLOCK_S = 2.0
TURN_S, TURNS = 1.0, 3
CAPACITY_S = 3.0
WARM_S, WARM_LOAD = 8.0, 0.5
LIMIT = 5.0  # p99 that throughput is compared at, in medians of the plain ensemble at the first load


@dataclass(frozen=True, slots=True)
class LoadPart:
    """One load.

    Attributes:
        load: share of the plain ensemble's capacity.
        rate_per_s: arrivals.
        stream: what was asked.
        run: the outcomes.
        full: int64 [rows], the plain ensemble's labels.
        summaries: by contender.
    """

    load: float
    rate_per_s: float
    stream: FileStream
    run: LoadRun
    full: np.ndarray
    summaries: tuple[Summary, ...]


@dataclass(frozen=True, slots=True)
class FiletypesResults:
    """Everything that was measured.

    Attributes:
        prepared: the bag.
        closed: closed loop, by contender.
        parts: open loop, by load.
        throughput: how many files a second each contender takes while its p99 keeps one and the same limit.
    """

    prepared: PreparedFiletypes
    closed: tuple[ClosedLoop, ...]
    parts: tuple[LoadPart, ...]
    throughput: tuple[Throughput, ...]


def contenders(prepared: PreparedFiletypes) -> tuple[str, str, str]:
    """The public model, the plain ensemble, the best member alone."""
    bag = prepared.manifest.bag
    return bag, full_model(bag), member_model(bag, best_member(prepared.accuracies))


def measure(
    prepared: PreparedFiletypes, url: str, stream_s: float, seed: int, progress: Callable[[str, int, int], None]
) -> FiletypesResults:
    """Ask all contenders in turns: open loop at LOADS, closed loop, and rates that rise.

    Before that the plain ensemble's capacity is measured, and the public model answers files for WARM_S to earn its
    error budget: a promise that counts from the start has nothing to spend there.

    Args:
        prepared: the bag that is served.
        url: `grpc://HOST:PORT`.
        stream_s: seconds of open-loop stream for each contender at each load.
        seed: of order, truncation and arrivals.
        progress: takes (what, steps done, total).
    """
    models = contenders(prepared)
    files = stream_of(prepared.test, 256, seed + 1).rows
    capacity_per_s = run_closed_loop(url, models[1:2], files, CALLERS, CAPACITY_S, 1)[0].rows_per_s
    _warm_up(prepared, url, models[0], capacity_per_s, seed + 3, progress)
    parts = [_at_load(prepared, url, load, capacity_per_s, stream_s, seed, progress) for load in LOADS]
    progress("closed loop", 0, 1)
    closed = run_closed_loop(url, models, files, CALLERS, TURN_S, TURNS)
    progress("closed loop", 1, 1)
    limit_ms = LIMIT * parts[0].summaries[1].p50_ms
    throughput = throughput_at(prepared, url, models, limit_ms, capacity_per_s, seed + 2, progress)
    return FiletypesResults(prepared, tuple(closed), tuple(parts), tuple(throughput))


def _warm_up(
    prepared: PreparedFiletypes,
    url: str,
    model: str,
    capacity_per_s: float,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> None:
    rate_per_s = WARM_LOAD * capacity_per_s
    rows = int(rate_per_s * WARM_S)
    files = stream_of(prepared.test, rows, seed).rows
    blocks = take_turns([model], poisson(rate_per_s, rows, seed), BLOCK_S)
    progress("earn the error budget", 0, 1)
    run_load(url, Traffic({prepared.manifest.public_inputs[0].name: files}), blocks)
    progress("earn the error budget", 1, 1)


def _at_load(
    prepared: PreparedFiletypes,
    url: str,
    load: float,
    capacity_per_s: float,
    stream_s: float,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> LoadPart:
    models = contenders(prepared)
    rate_per_s = load * capacity_per_s
    rows = max(50, int(rate_per_s * stream_s))
    stream = stream_of(prepared.test, rows, seed)
    blocks = take_turns(models, poisson(rate_per_s, rows, seed), BLOCK_S)
    traffic = Traffic({prepared.manifest.public_inputs[0].name: stream.rows})
    what, answered_rows = f"{100 * load:.0f} % load", [0]

    def count(_model: str, answered: int) -> None:
        answered_rows[0] += answered
        progress(what, answered_rows[0], rows * len(models))

    run = run_load(url, traffic, blocks, count)
    full = stream_labels(run.outcomes[models[1]])
    summaries = tuple(summarise(run, model, full=full, truth=stream.truth) for model in models)
    return LoadPart(load, rate_per_s, stream, run, full, summaries)
