"""All figures of one bag, stage by stage; a finished stage is kept, so that a stopped run goes on from there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.offline_votes import depth_probabilities
from benchmarks.serving import load
from benchmarks.serving.bench_bag import BenchBag, BenchStream, Material, Say
from benchmarks.serving.export import exported
from benchmarks.serving.forecast import forecasts
from benchmarks.serving.machine import machine
from benchmarks.serving.offline import Offline
from benchmarks.serving.own_time import own_time
from exeunt.bag_parts import parts_of
from exeunt.contract import exit_model, member_model
from exeunt.deciding.calibration import exits_of
from exeunt.manifest import Manifest
from exeunt.serving.bags import bag_of
from exeunt.serving.pip_server import Server, serve
from exeunt_client.blocking import Client
from exeunt_client.options import RequestOptions

NEVER = RequestOptions(exit="never")
ONE_THREAD, TWO_THREADS = "one process, 1 thread", "one process, 2 threads"
SATURATED = 1.0  # the plain ensemble is not asked beyond: its queue would only grow


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes:
        seconds: of stream per contender and load.
        most_requests: per contender and load.
        loads: shares of the plain ensemble's capacity.
        warm: requests that each contender answers at 30 % load before anything counts.
        probes: requests of one caller without load.
        batches: rows per request of the larger requests.
        oracle: rows of the stream on which accuracy and oracle are computed.
        samples: most rows that export gets; fewer where the bag has fewer.
        minutes: after the export, when no further load is begun.
    """

    seconds: float
    most_requests: int
    loads: tuple[float, ...]
    warm: int
    probes: int
    batches: tuple[int, ...]
    oracle: int
    samples: int
    minutes: float


QUICK = Size(10.0, 400, (0.3, 0.8), 100, 20, (16,), 150, 300, 10.0)
FULL = Size(60.0, 3000, (0.3, 0.8, 1.05, 1.3, 1.6, 2.0), 400, 100, (1, 16, 64), 1000, 6000, 40.0)


class Stages:
    """Results by stage, each in a JSON file of its own.

    Args:
        folder: of the files; made if need be.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, name: str) -> bool:
        """Whether the stage is finished."""
        return (self._folder / f"{name}.json").exists()

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        """The stage's result, made if it is not there."""
        file = self._folder / f"{name}.json"
        if not file.exists():
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps(make()) + "\n", encoding="utf-8")
            partial.replace(file)
        return json.loads(file.read_text(encoding="utf-8"))


def run_bag(
    bag: BenchBag, size: Size, schedules: tuple[str, ...], folder: Path, cache: Path, say: Say
) -> dict[str, Any]:
    """Prepare, export, serve and measure one bag.

    Args:
        bag: which.
        size: how much.
        schedules: of the engine.
        folder: the bag's own, for all files.
        cache: of what is fetched and trained.
        say: takes lines on what is done.

    Returns:
        what `report.markdown` takes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stages = Stages(folder / "stages")
    figures: dict[str, Any] = {"machine": stages.get("machine", machine), "name": bag.name, "about": bag.about}
    material = bag.prepare(folder, cache, say)
    repository = exported(bag, material, schedules, folder, size.samples, say)
    end_s = time.monotonic() + 60 * size.minutes
    engine = f"{bag.name}_{schedules[-1]}"
    oracle_stream = material.stream(size.oracle, 14)
    figures["accuracy"] = stages.get("accuracy", lambda: accuracy(material, oracle_stream))
    figures["member_ms"] = stages.get(
        "member_ms", lambda: Offline(material.members, 1).member_ms(oracle_stream.inputs[: size.probes])
    )
    figures["oracle_share"] = stages.get("oracle", lambda: oracle_share(repository, engine, oracle_stream.inputs))
    figures["own_time"] = stages.get(
        "own_time", lambda: own_time(repository, engine, material.stream(100, 13).inputs)[0]
    )
    say(f"accuracy {figures['accuracy']}, bare members {figures['member_ms']} ms")
    with serve(repository, log=folder / "server.log") as server:
        figures |= _with_server(bag, material, server, repository, schedules, size, stages, end_s, say)
    return figures


def _with_server(
    bag: BenchBag,
    material: Material,
    server: Server,
    repository: Path,
    schedules: tuple[str, ...],
    size: Size,
    stages: Stages,
    end_s: float,
    say: Say,
) -> dict[str, Any]:
    """The stages that ask the server."""
    url = f"grpc://{server.grpc_url}"
    manifest = bag_of(repository, bag.name).manifest
    input_name = manifest.public_inputs[0].name
    contenders = list(bag.contenders(schedules))
    probes = material.stream(max(64, size.probes), 15).inputs
    warm = material.stream(size.warm, 12).inputs
    figures: dict[str, Any] = {"plain": bag.plain}
    capacity = stages.get("capacity", lambda: load.capacity_per_s(url, bag.plain, probes))
    figures["capacity_per_s"] = capacity
    say(f"the plain ensemble answers {capacity:.1f} a second; warm up: every contender earns its budget")
    load.at_load(url, contenders, {input_name: warm}, 0.3, 0.3 * capacity, 4, None)
    figures["unloaded"] = stages.get("unloaded", lambda: unloaded(url, bag, manifest, material, contenders, probes))
    figures["closed_loop"] = stages.get("closed_loop", lambda: closed_loops(url, [bag.plain, *contenders], probes))
    figures["batches"] = stages.get(
        "batches", lambda: larger_requests(url, [bag.plain, *contenders], probes, size.batches, figures["unloaded"])
    )
    best = best_member(bag, stages.get("accuracy", dict))
    off = [bag.plain, bag.name, f"{bag.name}_{schedules[-1]}"]  # a schedule makes no difference when nobody leaves
    open_loops = OpenLoops(url, input_name, material, capacity, size)
    figures["exits_off"] = stages.get("exits_off", lambda: open_loops.points(off, 0.3, dict.fromkeys(off[1:], NEVER)))
    figures["points"] = []
    for share in size.loads:
        if time.monotonic() > end_s and not stages.has(f"load_{share}"):
            say(f"{size.minutes:g} minutes are over: no load beyond; the same command goes on from here")
            break
        models = [*([bag.plain] if share <= SATURATED else []), best, *contenders]
        points = stages.get(f"load_{share}", lambda share=share, models=models: open_loops.points(models, share, {}))
        figures["points"] += points
        say(f"load {share:.0%}: " + ", ".join(f"{p['model']} {p['p50_ms']:.0f}/{p['p99_ms']:.0f} ms" for p in points))
    figures["forecasts"] = forecasts(repository, contenders, size.loads, capacity)
    figures["memory_mb"] = load.memory_mb(server.pid, models_of(repository, bag, schedules))
    figures["promises"] = load.promises(server.metrics_url, contenders)
    figures["best_member"] = best
    return figures


@dataclass(frozen=True, slots=True)
class OpenLoops:
    """Open loops of several loads: whom they ask, and with what."""

    url: str
    input_name: str
    material: Material
    capacity_per_s: float
    size: Size

    def points(self, models: list[str], share: float, options: dict[str, RequestOptions]) -> list[dict[str, Any]]:
        """One load; the reference is the vote computed without a server."""
        rate_per_s = share * self.capacity_per_s
        requests = int(np.clip(rate_per_s * self.size.seconds, 50, self.size.most_requests))
        stream = self.material.stream(requests, 11)
        reference = Offline(self.material.members, 1).labels(stream.inputs)["bag"]
        inputs = {self.input_name: stream.inputs}
        points = load.at_load(self.url, models, inputs, share, rate_per_s, 5, reference, options)
        return [point.to_mapping() for point in points]


def accuracy(material: Material, stream: BenchStream) -> dict[str, float]:
    """Share of right labels by member and of "bag"; agreement with the vote where the truth is not known."""
    labels = Offline(material.members, 1).labels(stream.inputs)
    truth = labels["bag"] if stream.truth is None else stream.truth
    return {name: float((member_labels == truth).mean()) for name, member_labels in labels.items()}


def best_member(bag: BenchBag, accuracies: dict[str, float]) -> str:
    """Triton's model of the member that is right most often."""
    return member_model(bag.name, max((name for name in accuracies if name != "bag"), key=lambda n: accuracies[n]))


def oracle_share(repository: Path, bag: str, rows: np.ndarray) -> float:
    """Mean latency, as a share of the full ensemble's, if every row left at the first exit that is right."""
    manifest = bag_of(repository, bag).manifest
    feedback = exits_of(depth_probabilities(repository, manifest, rows), manifest)
    elapsed_us = manifest.costs().elapsed_us
    first = (feedback.labels == feedback.full[:, None]).argmax(axis=1)
    return float(elapsed_us[first].mean() / elapsed_us[-1])


def unloaded(
    url: str, bag: BenchBag, manifest: Manifest, material: Material, contenders: Sequence[str], rows: np.ndarray
) -> dict[str, Any]:
    """[p50, mean] in ms of every contender, one caller, in turns of ten requests."""
    offline = {ONE_THREAD: Offline(material.members, 1), TWO_THREADS: Offline(material.members, 2)}
    members = [member.model or "" for member in manifest.members]
    times_ms: dict[str, list[float]] = {}
    for start in range(0, len(rows), 10):
        batch = rows[start : start + 10]
        for name, process in offline.items():
            times_ms.setdefault(name, []).extend(process.latencies_ms(batch))
        series = np.sum([load.closed_loop(url, model, batch, 1) for model in members], axis=0)
        times_ms.setdefault("members in series, Triton", []).extend(series)
        for model in (bag.plain, *contenders):
            times_ms.setdefault(model, []).extend(load.closed_loop(url, model, batch, 1))
            time.sleep(0.5)  # what was answered early finishes
    return {name: [float(np.median(ms)), float(np.mean(ms))] for name, ms in times_ms.items()}


def closed_loops(url: str, models: Sequence[str], rows: np.ndarray) -> list[dict[str, Any]]:
    """Answers per second and median latency with 1, 4 and 16 callers who never pause."""
    loops = []
    for callers in (1, 4, 16):
        for model in models:
            began_s = time.perf_counter()
            spent_ms = load.closed_loop(url, model, rows, callers)
            rate = len(spent_ms) / (time.perf_counter() - began_s)
            loops.append({"callers": callers, "model": model, "p50_ms": float(np.median(spent_ms)), "rows_per_s": rate})
            time.sleep(1.0)
    return loops


def larger_requests(
    url: str, models: Sequence[str], rows: np.ndarray, sizes: Sequence[int], alone: dict[str, list[float]]
) -> list[dict[str, Any]]:
    """Median latency of requests with several rows, one caller who lets what was answered early finish."""
    finish_s = alone[ONE_THREAD][0] / 2e3  # per row: about what the members still have to do after an early answer
    by_size = []
    for size in sizes:
        rounds = max(4, 40 // size)
        for model in models:
            times_ms, early = [], []
            with Client(url, model) as client:
                for turn in range(rounds):
                    start = (turn * size) % (len(rows) - size + 1)
                    began_s = time.perf_counter()
                    answers = client.infer(rows[start : start + size])
                    times_ms.append(1e3 * (time.perf_counter() - began_s))
                    early.append(bool((answers.reasons > 0).all()))
                    time.sleep(finish_s * size)
            by_size.append(
                {"rows": size, "model": model, "p50_ms": float(np.median(times_ms)), "early": float(np.mean(early))}
            )
    return by_size


def models_of(repository: Path, bag: BenchBag, schedules: tuple[str, ...]) -> dict[str, list[str]]:
    """Contender -> the Triton models that hold its memory."""
    folders = [path.name for path in repository.iterdir() if path.is_dir()]
    manifest = bag_of(repository, bag.name).manifest
    members = [member.model or "" for member in manifest.members]
    parts = [part.model for part in parts_of(manifest)]
    engines = {name: [exit_model(name)] for name, (mode, _) in bag.contenders(schedules).items() if mode == "engine"}
    models_by_contender = {
        bag.plain: [f"{bag.name}_vote", *members],
        bag.name: [exit_model(bag.name), *parts],
        **engines,
    }
    return {name: [model for model in models if model in folders] for name, models in models_by_contender.items()}
