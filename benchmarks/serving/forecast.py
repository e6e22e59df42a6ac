"""What `exeunt advise` says of a bag before it is served, beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.serving.load import Point
from exeunt.costing.advice import advise_bag
from exeunt.serving.bags import bag_of

WITHIN = 0.2  # of the measured value: what a forecast is meant to reach
MOST_LOAD = 0.8  # beyond, latency is what queues are, and nobody plans for it


def forecasts(repository: Path, bags: Sequence[str], loads: Sequence[float], capacity_per_s: float) -> dict[str, Any]:
    """Forecasts by bag and load, as `exeunt advise --rate` makes them.

    Args:
        repository: as exported.
        bags: contenders with exits.
        loads: shares of the plain ensemble's capacity.
        capacity_per_s: the plain ensemble's, as measured.
    """
    found = {}
    for name in bags:
        bag = bag_of(repository, name)
        if len(bag.manifest.exits) > 1:  # else there is nothing to forecast: everybody waits for the full vote
            rates = {f"{load:g}": load * capacity_per_s for load in loads if load <= MOST_LOAD}
            found[name] = {load: asdict(advise_bag(bag, rate).forecasts[0]) for load, rate in rates.items()}
    return found


def table(found: Mapping[str, Any], points: Sequence[Point]) -> list[str]:
    """Forecast and measurement side by side, as Markdown; nothing for a run that kept no forecasts.

    Args:
        found: as `measure.run_bag` returns it.
        points: the open loop's.
    """
    if "forecasts" not in found:
        return []
    lines = ["## What `exeunt advise` says of it", "", "Forecasts from the export's own times and shares, made without "
             "serving, with their intervals; the last number is forecast by measurement.", ""]  # fmt: skip
    lines += ["| load | contender | p50 ms: forecast, measured, ratio | p99 ms: forecast, measured, ratio |"]
    lines += ["|---|---|---|---|"]
    ratios, held = [], 0
    for point in points:
        forecast = found["forecasts"].get(point.model, {}).get(f"{point.load:g}")
        if forecast is None:
            continue
        cells = []
        for name in ("p50_ms", "p99_ms"):
            said, (low, high) = forecast[name], forecast[name.replace("_ms", "_range_ms")]
            seen = getattr(point, name)
            ratios.append(said / seen)
            held += low <= seen <= high
            cells.append(f"{said:.1f} ({low:.0f} to {high:.0f}), {seen:.1f}, {said / seen:.2f}")
        lines.append(f"| {point.load:.0%} | {point.model} | {cells[0]} | {cells[1]} |")
    close = sum(1 - WITHIN <= ratio <= 1 + WITHIN for ratio in ratios)
    counts = f"Within {WITHIN:.0%}: {close} of {len(ratios)}; within the stated interval: {held}."
    return [*lines, "", counts, ""]
