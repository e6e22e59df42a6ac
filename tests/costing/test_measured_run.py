"""`exeunt cost` against a run that was measured once, on the real engine: the same arrivals in simulated time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exeunt.costing.answers import answer_mix
from exeunt.costing.waiting import latencies_us
from exeunt.manifest import Manifest
from tests.places import ROOT

FIXTURE = ROOT / "tests/fixtures/measured_run.json"
WITHIN = 0.15
SEEDS = 20


@pytest.fixture(scope="module")
def run() -> dict[str, Any]:
    measurement: dict[str, Any] = json.loads(FIXTURE.read_text())
    return measurement


@pytest.fixture(scope="module")
def simulated_ms(run: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Median and 99th percentile, means over seeds that draw the exits."""
    path: Path = tmp_path_factory.mktemp("run") / "manifest.json"
    path.write_text(json.dumps(run["manifest"]))
    manifest = Manifest.load(path)
    shares = np.bincount(run["exits"], minlength=len(manifest.exits)) / len(run["exits"])
    mix = answer_mix(manifest, tuple(map(float, shares)), run["workers"])
    arrivals_us = 1000.0 * np.array(run["arrivals_ms"])
    percentiles_us = [
        np.percentile(latencies_us(mix, arrivals_us, run["workers"], np.random.default_rng(seed)), (50, 99))
        for seed in range(SEEDS)
    ]
    return np.mean(percentiles_us, axis=0) / 1000.0


def test_the_measured_run_is_one_with_exits_and_without_failures(run: dict[str, Any]) -> None:
    assert run["failed"] == 0 and len(run["exits"]) == len(run["latencies_ms"]) > 1000
    assert len(set(run["exits"])) > 1


@pytest.mark.parametrize(("place", "percentile"), [(0, 50), (1, 99)])
def test_the_simulation_comes_within_15_percent_of_it(
    run: dict[str, Any], simulated_ms: np.ndarray, place: int, percentile: int
) -> None:
    measured_ms = float(np.percentile(run["latencies_ms"], percentile))
    assert simulated_ms[place] == pytest.approx(measured_ms, rel=WITHIN)
