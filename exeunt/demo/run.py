"""The demo: prepare the bag, serve it, send it the stream beside the plain ensemble, report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from torch import nn

from exeunt.client.arrivals import poisson, take_turns
from exeunt.client.blocking import Client
from exeunt.client.load import Traffic, run_load
from exeunt.client.measure import stream_labels, summarise
from exeunt.client.progress import bars
from exeunt.client.server_times import read_times, spent
from exeunt.contract import full_model
from exeunt.demo.accounting import account, wall_ms
from exeunt.demo.data import Stream, drifting_stream
from exeunt.demo.prepare import Prepared, prepare
from exeunt.demo.report import Measured, draw, print_report, save
from exeunt.demo.train import probabilities
from exeunt.serving.pip_server import serve

_BLOCK_S = 2.0
_PROBES = 40  # requests, one by one, that tell how long the plain ensemble takes
_RATES_PER_S = (1.0, 100.0)  # slowest and fastest stream that is worth sending


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What the demo does.

    Attributes:
        folder: gets everything the demo makes: bag, repository, report.json, picture.png, server.log.
        cache: folder of trained weights.
        seed: of data, training and arrivals.
        stream_s: seconds of Poisson stream that each model gets.
        rate_per_s: arrivals per second; None takes `load` of what the plain ensemble can do one after another.
        load: see `rate_per_s`, 0..1.
    """

    folder: Path
    cache: Path
    seed: int = 0
    stream_s: float = 25.0
    rate_per_s: float | None = None
    load: float = 0.35


def run_demo(plan: DemoPlan, console: Console) -> Measured:
    """Run the demo and print what it found.

    Raises:
        ConfigError: export or serving refused.
        ServingError: the server failed.
    """
    began_s = time.monotonic()
    plan.folder.mkdir(parents=True, exist_ok=True)
    prepared = prepare(plan.folder, plan.cache, plan.seed, console)
    console.print(f"start Triton over {prepared.repository}, {len(list(prepared.repository.iterdir()))} models")
    with serve(prepared.repository, log=plan.folder / "server.log") as server:
        url = f"grpc://{server.grpc_url}"
        console.print(f"ready: HTTP {server.http_url}, gRPC {server.grpc_url}, metrics {server.metrics_url}")
        measured = _measure(plan, prepared, url, console)
    measured.total_s = time.monotonic() - began_s
    print_report(measured, console)
    save(measured, plan.folder / "report.json")
    draw(measured, plan.folder / "picture.png")
    console.print(f"wrote {plan.folder / 'report.json'} and {plan.folder / 'picture.png'}")
    return measured


def _measure(plan: DemoPlan, prepared: Prepared, url: str, console: Console) -> Measured:
    """Send the stream to NAME and NAME_full in turns."""
    bag = prepared.manifest.bag
    models = (bag, full_model(bag))
    test = prepared.parts.test
    rate_per_s = plan.rate_per_s or _fitting_rate(url, models[1], test.images[:_PROBES], plan.load)
    stream = drifting_stream(test, max(1, int(rate_per_s * plan.stream_s)), plan.seed)
    rows = len(stream.labels)
    told = f"{rows} noisy test images as a Poisson stream of {rate_per_s:.1f}/s to {' and '.join(models)} in turns"
    console.print(told)
    blocks = take_turns(models, poisson(rate_per_s, rows, plan.seed), _BLOCK_S)
    traffic = Traffic({prepared.manifest.inputs[0].name: stream.images})
    before = read_times(url)
    with bars(console) as progress:
        tasks = {model: progress.add_task(f"stream to {model}", total=rows) for model in models}
        run = run_load(url, traffic, blocks, lambda model, answered: progress.advance(tasks[model], answered))
    times = spent(before, read_times(url))
    full = stream_labels(run.outcomes[models[1]])
    return Measured(
        manifest=prepared.manifest,
        rate_per_s=rate_per_s,
        summaries=[summarise(run, model, full=full, truth=stream.labels) for model in models],
        accuracies=_accuracies(prepared.modules, stream),
        lines=account(prepared.manifest, times),
        wall_ms={model: wall_ms(times, model) for model in models},
        cpu_share=run.cpu_share,
        run=run,
        full=full,
        noise=stream.noise,
    )


def _fitting_rate(url: str, model: str, images: np.ndarray, load: float) -> float:
    """Arrivals per second that keep `model` busy for a share `load` of the time."""
    latencies_s = []
    with Client(url, model) as client:
        for image in images:
            began_s = time.perf_counter()
            client.infer(image[None])
            latencies_s.append(time.perf_counter() - began_s)
    slowest, fastest = _RATES_PER_S
    return float(np.clip(load / np.median(latencies_s), slowest, fastest))


def _accuracies(modules: Mapping[str, nn.Module], stream: Stream) -> dict[str, float]:
    """Share of true labels on the stream: each member alone, and their vote, computed here without a server."""
    votes = {name: probabilities(module, stream.images) for name, module in modules.items()}
    ensemble: np.ndarray = np.sum(list(votes.values()), axis=0)
    told = {**votes, "all together": ensemble}
    return {name: float((vote.argmax(axis=1) == stream.labels).mean()) for name, vote in told.items()}
