"""A measured run that `exeunt cost` must be able to replay: tests/fixtures/measured_run.json.

    python -m benchmarks.cost_run [--seconds 240] [--load 0.3]

The real engine, controller, tuner and host in this process, without Triton, over members that sleep for their profiled
times (benchmarks.replicas), so that other work on the machine hardly shows; one-row requests, Poisson. Kept: the
manifest, when every request came, how long its answer took, and its exit. tests/costing/test_measured_run.py
simulates the same arrivals.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.replicas.exit_controller.asleep import put_to_sleep
from benchmarks.replicas.measure import BAG, OPTIONS, PER_S, ROWS, WORKERS, slow_down
from benchmarks.serving.machine import machine
from exeunt.contract import MANIFEST_FILE, exit_model
from exeunt.deciding.request import ParsedOptions, Release, Request
from exeunt.engine.engine import Engine
from exeunt.hosting import assembly
from exeunt.hosting.guard import Guard
from exeunt.measuring.arrivals import poisson
from exeunt_export.export_bag import export_bag
from tests.export.tiny import tiny_bag

FIXTURE = Path(__file__).parents[1] / "tests/fixtures/measured_run.json"
WARM_UP_S, REST_S = 60.0, 3.0


def measured(load: float, seconds: float) -> dict[str, Any]:
    """Let exits be learnt, then measure."""
    with tempfile.TemporaryDirectory() as name:
        bag = tiny_bag(Path(name), mode="engine", members=2, exit_table=OPTIONS)
        repository = export_bag(bag, Path(name) / "repository").output
        slow_down(repository)
        folder = repository / exit_model(BAG) / "1"
        table = json.loads((folder / MANIFEST_FILE).read_text())
        put_to_sleep(table)
        manifest = assembly.read_manifest(folder, {})
        timed_releases: dict[Hashable, tuple[float, Release]] = {}

        def reply(release: Release) -> None:
            timed_releases[release.key] = (time.monotonic(), release)

        served = assembly.HostedBag(
            assembly.make_controller(manifest, folder),
            Engine(manifest, folder),
            reply,
            lambda samples: None,
            lambda line: None,
            Guard(),
            {},
        )
        _play(served, PER_S * load, WARM_UP_S, seed=0)
        arrivals_s = _play(served, PER_S * load, seconds, seed=1)
        served.stop(10.0)
    answers = {key: release.answer for key, (_, release) in timed_releases.items() if release.answer is not None}
    answered_keys = [key for key in arrivals_s if key in answers]
    first_s = min(arrivals_s.values())
    return {
        "about": "benchmarks/cost_run.py: real engine and controller, members that sleep for their profiled times",
        "machine": machine(),
        "workers": WORKERS,
        "failed": len(arrivals_s) - len(answered_keys),
        "arrivals_ms": [round(1e3 * (arrivals_s[key] - first_s), 3) for key in answered_keys],
        "latencies_ms": [round(1e3 * (timed_releases[key][0] - arrivals_s[key]), 3) for key in answered_keys],
        "exits": [int(answers[key].exit[0]) for key in answered_keys],
        "manifest": table,
    }


def _play(served: assembly.HostedBag, rate_per_s: float, seconds: float, seed: int) -> dict[Hashable, float]:
    """Submit one row after the other on schedule; when each was due, by key."""
    begun_s, arrivals_s = time.monotonic(), {}
    for number, offset_s in enumerate(poisson(rate_per_s, int(rate_per_s * seconds), seed).tolist()):
        time.sleep(max(0.0, begun_s + offset_s - time.monotonic()))
        key, place = (seed, number), number % len(ROWS)
        arrivals_s[key] = begun_s + offset_s
        served.host.submit(Request(key, 1, ParsedOptions()), {"IMAGE": ROWS[place : place + 1].copy()})
    time.sleep(REST_S)
    return arrivals_s


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=240.0, help="of the measured run (240)")
    parser.add_argument("--load", type=float, default=0.3, help="in shares of the full votes that workers can do (0.3)")
    args = parser.parse_args(argv)
    run = measured(args.load, args.seconds)
    FIXTURE.write_text(json.dumps(run) + "\n", encoding="utf-8")
    print(len(run["arrivals_ms"]), "answers, p50 and p99 ms:", np.percentile(run["latencies_ms"], (50, 99)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
