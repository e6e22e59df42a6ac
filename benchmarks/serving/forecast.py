"""What `exeunt advise` says of a bag before it is served, beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.serving.load import Point
from exeunt.costing.advice import MEASURE_S, calibration_rows, timed_here
from exeunt.costing.forecast import CALLERS, forecast, most_per_s
from exeunt.costing.path_costs import TRACED
from exeunt.costing.shares import read_report
from exeunt.serving.bags import bag_of

WITHIN = 0.2  # of the measured value: what a forecast is meant to reach
MOST_LOAD = 0.8  # beyond, latency is what queues are, and nobody plans for it


def forecasts(
    repository: Path,
    bags: Sequence[str],
    loads: Sequence[float],
    capacity_per_s: float,
    seconds: float = MEASURE_S,
) -> dict[str, Any]:
    """Forecasts by bag and load, as `exeunt advise --rate` makes them.

    Args:
        repository: as exported.
        bags: contenders with exits.
        loads: shares of the plain ensemble's capacity.
        capacity_per_s: the plain ensemble's, as measured.
        seconds: see exeunt.costing.advice.advise_bag.

    Returns:
        bag -> load -> a forecast, and answers per second under "most_per_s" and "plain_most_per_s".
    """
    by_bag = {}
    for name in bags:
        bag = bag_of(repository, name)
        if len(bag.manifest.exits) > 1:  # else there is nothing to forecast: everybody waits for the full vote
            timed_bag, _ = timed_here(bag, bag.settings.max_loss, None, seconds)
            rates = {f"{load:g}": load * capacity_per_s for load in loads if load <= MOST_LOAD}
            rows = calibration_rows(read_report(bag.folder))
            by_load: dict[str, Any] = {
                load: asdict(forecast(timed_bag, rate, rows, TRACED)) for load, rate in rates.items()
            }
            by_load["most_per_s"] = most_per_s(timed_bag, TRACED, plain=False)
            by_load["plain_most_per_s"] = most_per_s(timed_bag, TRACED, plain=True)
            by_bag[name] = by_load
    return by_bag


def table(figures: Mapping[str, Any], points: Sequence[Point]) -> list[str]:
    """Forecast and measurement side by side, as Markdown; nothing for a run that kept no forecasts.

    Args:
        figures: as `measure.run_bag` returns it.
        points: the open loop's.
    """
    if "forecasts" not in figures:
        return []
    lines = ["## What `exeunt advise` says of it", "", "Made without serving; with intervals. The last number of a "
             "cell is forecast by measurement, `p99 to plain` the ratio to the plain ensemble's.", ""]  # fmt: skip
    lines += ["| load | contender | p50 ms: forecast, measured, ratio | p99 ms: forecast, measured, ratio "
              "| p99 to plain: forecast, measured |", "|---|---|---|---|---|"]  # fmt: skip
    plain = {f"{point.load:g}": point for point in points if point.model == figures["plain"]}
    ratios, within_interval = [], 0
    for point in points:
        load = f"{point.load:g}"
        if (load_forecast := figures["forecasts"].get(point.model, {}).get(load)) is None:
            continue
        cells = []
        for name in ("p50_ms", "p99_ms"):
            forecast_ms, measured_ms = load_forecast[name], getattr(point, name)
            low, high = load_forecast[name.replace("_ms", "_range_ms")]
            ratios.append(forecast_ms / measured_ms)
            within_interval += low <= measured_ms <= high
            cells.append(
                f"{forecast_ms:.1f} ({low:.0f} to {high:.0f}), {measured_ms:.1f}, {forecast_ms / measured_ms:.2f}"
            )
        if load in plain:
            forecast_ratio = load_forecast["p99_ms"] / load_forecast["plain_p99_ms"]
            cells.append(f"{forecast_ratio:.2f}, {point.p99_ms / plain[load].p99_ms:.2f}")
        lines.append(f"| {point.load:.0%} | {point.model} | {' | '.join(cells)} |")
    for load, point in plain.items():
        if load_forecast := next((by_load[load] for by_load in figures["forecasts"].values() if load in by_load), None):
            pairs = [(load_forecast[f"plain_{name}"], getattr(point, name)) for name in ("p50_ms", "p99_ms")]
            ratios += [forecast_ms / measured_ms for forecast_ms, measured_ms in pairs]
            cells = [
                f"{forecast_ms:.1f}, {measured_ms:.1f}, {forecast_ms / measured_ms:.2f}"
                for forecast_ms, measured_ms in pairs
            ]
            lines.append(f"| {point.load:.0%} | {point.model} | {' | '.join(cells)} | |")
    close = sum(1 - WITHIN <= ratio <= 1 + WITHIN for ratio in ratios)
    counts = f"Within {WITHIN:.0%}: {close} of {len(ratios)}; within the stated interval: {within_interval}."
    return [*lines, "", counts, "", *_most(figures)]


def _most(figures: Mapping[str, Any]) -> list[str]:
    """Answers per second to callers who never pause."""
    measured_per_s = {
        loop["model"]: loop["rows_per_s"] for loop in figures.get("closed_loop", ()) if loop["callers"] == CALLERS
    }
    pairs = [
        (name, forecast.get("most_per_s"), measured_per_s.get(name)) for name, forecast in figures["forecasts"].items()
    ]
    first = next(iter(figures["forecasts"].values()), {})
    pairs.append((figures["plain"], first.get("plain_most_per_s"), measured_per_s.get(figures["plain"])))
    cells = [f"{name} {most:.1f}, {per_s:.1f}, {most / per_s:.2f}" for name, most, per_s in pairs if most and per_s]
    if not cells:
        return []
    return [
        f"Answers per second to {CALLERS} callers who never pause (forecast, measured, ratio): {'; '.join(cells)}.",
        "",
    ]
