"""The demo: prepare the bag, serve it, send it the stream beside the plain ensemble, report."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from exeunt.contract import full_model
from exeunt.demo.accounting import account, wall_ms
from exeunt.demo.accuracies import accuracies
from exeunt.demo.data import drifting_stream
from exeunt.demo.output import claim, save_report
from exeunt.demo.prepare import PreparedDigits, prepare, write_test
from exeunt.demo.report import DigitsResults, draw, print_report
from exeunt.measuring.arrivals import poisson, take_turns
from exeunt.measuring.load import Traffic, run_load
from exeunt.measuring.progress import bars
from exeunt.measuring.server_times import read_times, spent
from exeunt.measuring.summary import stream_labels, summarise
from exeunt.serving.pip_server import serve
from exeunt_client.blocking import Client
from exeunt_client.options import RequestOptions

_BLOCK_S = 2.0
_PROBES = 40  # requests, one by one, that tell how long the plain ensemble takes
_RATES_PER_S = (1.0, 100.0)  # slowest and fastest stream that is worth sending


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What the demo does.

    Attributes:
        folder: gets everything the demo makes: bag, repository, report.json, picture.png, server.log.
        modes: how the members run; the first is the plain ensemble's companion.
        seed: of data, training and arrivals.
        stream_s: seconds of Poisson stream that each model gets.
        rate_per_s: arrivals per second; None takes `load` of what the slowest model can do, full votes one by one.
        load: see `rate_per_s`, 0..1.
    """

    folder: Path
    modes: tuple[str, ...]
    seed: int = 0
    stream_s: float = 20.0
    rate_per_s: float | None = None
    load: float = 0.4


def run_demo(plan: DemoPlan, console: Console) -> DigitsResults:
    """Run the demo and print what it found.

    Raises:
        ConfigError: export or serving refused.
        ServingError: the server failed.
    """
    began_s = time.monotonic()
    claim(plan.folder)
    prepared = prepare(plan.folder, plan.seed, console, plan.modes)
    write_test(prepared, plan.folder)
    prepared_s = time.monotonic() - began_s
    console.print(
        f"start Triton over {prepared.repository}, {len(list(prepared.repository.iterdir()))} models", markup=False
    )
    with serve(prepared.repository, log=plan.folder / "server.log") as server:
        url = f"grpc://{server.grpc_url}"
        console.print(f"ready: http://{server.http_url}, {url}, {server.metrics_url}", soft_wrap=True)
        results = _measure(plan, prepared, url, console)
    results.prepared_s, results.total_s = prepared_s, time.monotonic() - began_s
    print_report(results, console)
    save_report(results.to_mapping(), plan.folder)
    draw(results, plan.folder / "picture.png")
    console.print(f"wrote report.json and picture.png to {plan.folder}", soft_wrap=True, markup=False)
    return results


def _measure(plan: DemoPlan, prepared: PreparedDigits, url: str, console: Console) -> DigitsResults:
    """Send the stream to every bag and to the plain ensemble in turns."""
    bags = [manifest.bag for manifest in prepared.manifests]
    baseline = full_model(prepared.manifest.bag)
    models = [*bags, baseline]
    test = prepared.parts.test
    rate_per_s = plan.rate_per_s or min(_fitting_rate(url, model, test.images[:_PROBES], plan.load) for model in models)
    stream = drifting_stream(test, max(1, int(rate_per_s * plan.stream_s)), plan.seed)
    rows = len(stream.labels)
    console.print(f"{rows} noisy test images as a Poisson stream of {rate_per_s:.1f}/s to each model, in turns")
    blocks = take_turns(models, poisson(rate_per_s, rows, plan.seed), _BLOCK_S)
    traffic = Traffic({prepared.manifest.inputs[0].name: stream.images})
    before = read_times(url)
    with bars(console) as progress:
        tasks = {model: progress.add_task(f"stream to {model}", total=rows) for model in models}
        run = run_load(url, traffic, blocks, lambda model, answered: progress.advance(tasks[model], answered))
    times = spent(before, read_times(url))
    full = stream_labels(run.outcomes[baseline])
    return DigitsResults(
        manifests=prepared.manifests,
        rate_per_s=rate_per_s,
        summaries=[summarise(run, model, full=full, truth=stream.labels) for model in models],
        accuracies=accuracies(prepared.members, stream.images, stream.labels),
        lines=[line for manifest in prepared.manifests for line in account(manifest, times)],
        wall_ms={model: wall_ms(times, model) for model in models},
        cpu_share=run.cpu_share,
        run=run,
        full=full,
        noise=stream.noise,
    )


def _fitting_rate(url: str, model: str, images: np.ndarray, load: float) -> float:
    """Arrivals per second that keep `model` busy for a share `load` of the time, if each gets the full vote."""
    latencies_s = []
    with Client(url, model) as client:
        for image in images:
            began_s = time.perf_counter()
            client.infer(image[None], RequestOptions(exit="never"))
            latencies_s.append(time.perf_counter() - began_s)
    slowest, fastest = _RATES_PER_S
    return float(np.clip(load / np.median(latencies_s), slowest, fastest))
