"""Tables and pictures of the serving benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.serving import forecast
from benchmarks.serving.bench_bag import SCHEDULES
from benchmarks.serving.load import Point

HOW_TO_READ = (
    "How to read it. Contenders share one server and take turns of ten seconds. First, requests at 30 % load let every "
    "contender earn its error budget; then came one caller, larger requests, all exits off, and the loads in order. "
    "The promise is about all answers since the start, and its constants (docs/promise.md) cover what few answers "
    "cannot show: beyond the capacity feedback is sampled and answers wait unconfirmed, so a single row may lie above "
    "1 %. Where p99 is in seconds the load is more than that contender carries; who is ahead there is chance. "
    "In the table of larger requests lossless stops count as early."
)


def markdown(figures: Mapping[str, Any]) -> str:
    """The report as Markdown, from what `measure.run_bag` returns; ratios are to the plain ensemble in the same run."""
    points, plain = [point_of(entry) for entry in figures["points"]], figures["plain"]
    lines = [f"# Serving the bag `{figures['name']}` on a CPU host", "", figures["about"], "", HOW_TO_READ, ""]
    lines += ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in figures["machine"].items()), ""]
    lines += _targets(figures, points, plain)
    lines += _members(figures)
    lines += ["## One caller, no load", "", "| contender | p50 ms | mean ms |", "|---|---|---|"]
    lines += [f"| {name} | {ms[0]:.1f} | {ms[1]:.1f} |" for name, ms in figures["unloaded"].items()]
    lines += ["", f"The plain ensemble's capacity: {figures['capacity_per_s']:.1f} full votes per second.", ""]
    lines += _closed_loops(figures["closed_loop"], plain)
    lines += ["## Latency under load (open loop, Poisson)", ""]
    lines += [
        "| load | contender | requests | p50 ms | p99 ms | p50 ratio | p99 ratio | loss | early | lossless | failed |"
    ]
    lines += ["|---|---|---|---|---|---|---|---|---|---|---|"]
    lines += [_line(point, _base(points, plain, point.load)) for point in points]
    lines += ["", *_throughput(figures, points, plain), "", *forecast.table(figures, points)]
    lines += [*_exits_off(figures["exits_off"], plain)]
    lines += _batches(figures["batches"], plain)
    lines += ["", *_promises(figures["promises"]), *_cost(figures, points)]
    return "\n".join(lines) + "\n"


def point_of(entry: Mapping[str, Any]) -> Point:
    """A point as JSON gave it back: its exits are numbers again."""
    return Point(**{**entry, **{key: {int(k): v for k, v in entry[key].items()} for key in ("exits", "course")}})


def _base(points: Sequence[Point], plain: str, load: float) -> Point | None:
    return next((point for point in points if point.model == plain and point.load == load), None)


def _members(figures: Mapping[str, Any]) -> list[str]:
    """The members alone: bare time, and how right they are."""
    lines = ["## The members alone", "", "Bare time: median of single rows in one process, one thread. Right: share of "
             "labels that are the true ones, or the vote's where nobody knows the truth.", ""]  # fmt: skip
    lines += ["| member | bare ms | right |", "|---|---|---|"]
    lines += [f"| {name} | {ms:.1f} | {figures['accuracy'][name]:.1%} |" for name, ms in figures["member_ms"].items()]
    total_ms = sum(figures["member_ms"].values())
    lines += [f"| all together | {total_ms:.1f} | {figures['accuracy']['bag']:.1%} |", ""]
    share = figures["oracle_share"]
    return [*lines, f"If every row left at the first exit that is right, mean latency would be {share:.2f} of all.", ""]


def _closed_loops(entries: Sequence[Mapping[str, Any]], plain: str) -> list[str]:
    lines = ["## Closed loop: callers who never pause", ""]
    lines += ["| callers | contender | p50 ms | answers/s | ratio |", "|---|---|---|---|---|"]
    base = {entry["callers"]: entry["rows_per_s"] for entry in entries if entry["model"] == plain}
    lines += [
        f"| {entry['callers']} | {entry['model']} | {entry['p50_ms']:.1f} | {entry['rows_per_s']:.1f} "
        f"| {entry['rows_per_s'] / base[entry['callers']]:.2f} |"
        for entry in entries
    ]
    return [*lines, ""]


def _exits_off(entries: Sequence[Mapping[str, Any]], plain: str) -> list[str]:
    lines = ["## All exits off (every request asks for the full vote)", ""]
    lines += ["| contender | p50 ms | p99 ms | p50 ratio | p99 ratio |", "|---|---|---|---|---|"]
    base = next(entry for entry in entries if entry["model"] == plain)
    return lines + [
        f"| {entry['model']} | {entry['p50_ms']:.1f} | {entry['p99_ms']:.1f} | {entry['p50_ms'] / base['p50_ms']:.2f} "
        f"| {entry['p99_ms'] / base['p99_ms']:.2f} |"
        for entry in entries
    ]


def _batches(entries: Sequence[Mapping[str, Any]], plain: str) -> list[str]:
    lines = ["", "## Larger requests, one caller (a request leaves early only when all its rows do)", ""]
    lines += ["| rows | contender | p50 ms | ratio | early requests |", "|---|---|---|---|---|"]
    base = {entry["rows"]: entry["p50_ms"] for entry in entries if entry["model"] == plain}
    return lines + [
        f"| {e['rows']} | {e['model']} | {e['p50_ms']:.1f} | {e['p50_ms'] / base[e['rows']]:.2f} | {e['early']:.0%} |"
        for e in entries
    ]


def _cost(figures: Mapping[str, Any], points: Sequence[Point]) -> list[str]:
    lines = ["## Cost", "", "| contender | memory MB |", "|---|---|"]
    lines += [f"| {name} | {mb:.0f} |" for name, mb in figures["memory_mb"].items()]
    times_us = figures["own_time"]
    busiest = max((point.client_cpu for point in points), default=0.0)
    return [
        *lines,
        "",
        f"CPU time per input, caches warm: controller and scheduler {times_us['own_us']:.0f} us, tuner "
        f"{times_us['tuning_us']:.0f} us; together {_own_share(figures):.2%} of the {times_us['all_us']:.0f} us that "
        "an input takes in all.",
        "",
        f"The load generator used at most {busiest:.0%} of one core.",
        "",
    ]


def _promises(promises: Mapping[str, Mapping[str, float]]) -> list[str]:
    """All answers since the start against eps T + P, as each controller has counted them."""
    how = (
        "Counted by the server, warming up included: lost answers must not pass the bound, eps T + P, T being all "
        "answers and P the most that awaited their full vote at once. Where feedback is sampled both are estimates "
        "(docs/promise.md, section 5)."
    )
    lines = ["## The promise since the start", "", how, ""]
    lines += ["| contender | answers | lost | bound | |", "|---|---|---|---|---|"]
    for model, values in promises.items():
        bound = values["promised_loss"] * values["promised_rows"] + values["most_unconfirmed_rows"]
        verdict = "**broken**" if values["promise_broken"] else "kept"
        lines.append(
            f"| {model} | {values['promised_rows']:.0f} | {values['lost_rows']:.0f} | {bound:.0f} | {verdict} |"
        )
    return [*lines, ""]


def _own_share(figures: Mapping[str, Any]) -> float:
    times_us = figures["own_time"]
    return float((times_us["own_us"] + times_us["tuning_us"]) / times_us["all_us"])


def _targets(figures: Mapping[str, Any], points: Sequence[Point], plain: str) -> list[str]:
    """What was to be reached, as ratios to the plain ensemble, and what was."""
    engines = [model for model in dict.fromkeys(point.model for point in points) if model.split("_")[-1] in SCHEDULES]
    at = {(point.model, point.load): point for point in points}

    def best(load: float, name: str) -> tuple[float, str]:
        base = getattr(at[plain, load], name)
        return min((getattr(at[model, load], name) / base, model) for model in engines)

    rows = []
    for load, name in ((0.3, "p50_ms"), (0.3, "p99_ms"), (0.8, "p99_ms")):
        if (plain, load) in at:
            rows.append((f"{name[:3]} at {load:.0%} load, best schedule", "<= 0.45", best(load, name), True))
    carried_loads = _carried(figures, points, plain)
    limit_ms = 5 * figures["unloaded"][plain][0]
    if carried_loads.get(plain) and any(point.p99_ms >= limit_ms for point in points if point.model == plain):
        ratio = {model: carried_loads[model] / carried_loads[plain] for model in engines}
        parallel = next((model for model in engines if model.endswith("parallel")), None)
        if parallel is not None:
            rows.append(("throughput, parallel", ">= 1.8", (ratio[parallel], parallel), False))
        rows.append(("throughput, best schedule", ">= 2.5", max((ratio[m], m) for m in engines), False))
    off = {row["model"]: row for row in figures.get("exits_off", ())}
    for name in ("p50_ms", "p99_ms"):
        if plain in off:
            worst = max((off[m][name] / off[plain][name], m) for m in engines if m in off)
            rows.append((f"{name[:3]} with all exits off", "<= 1.05", worst, True))
    rows.append(("controller's own CPU time", "<= 0.02", (_own_share(figures), "with the tuner"), True))
    memory = figures["memory_mb"]
    rows.append(("memory, the largest", "<= 1.0", max((memory[m] / memory[plain], m) for m in engines), True))
    lines = ["## Targets", "", "| | target | measured | |", "|---|---|---|---|"]
    for what, target, (value, who), at_most in rows:
        limit = float(target.split()[1])
        reached = value <= limit if at_most else value >= limit
        text = f"{value:.3f}" if limit < 0.1 else f"{value:.2f}"
        lines.append(f"| {what} | {target} | {text} ({who}) | {'reached' if reached else '**not reached**'} |")
    return [*lines, ""]


def _carried(figures: Mapping[str, Any], points: Sequence[Point], plain: str) -> dict[str, float]:
    """By contender, the load up to which p99 stays under 5 times the plain ensemble's unloaded latency.

    Between two measured loads the logarithm of p99 is interpolated; below the lowest p99 is taken to grow with the
    load; beyond the highest nothing is assumed.
    """
    limit_ms = 5 * figures["unloaded"][plain][0]
    carried_loads = {}
    for model in dict.fromkeys(point.model for point in points):
        p99_by_load = sorted((p.load, p.p99_ms) for p in points if p.model == model)
        within = 0.0
        for (load, p99_ms), (next_load, next_ms) in zip([(0.0, limit_ms / 5), *p99_by_load], p99_by_load, strict=False):
            if next_ms < limit_ms:
                within = next_load
                continue
            share = np.log(limit_ms / p99_ms) / np.log(next_ms / p99_ms)
            within = load + float(share) * (next_load - load)
            break
        carried_loads[model] = within
    return carried_loads


def _throughput(figures: Mapping[str, Any], points: Sequence[Point], plain: str) -> list[str]:
    """How much load each contender carries."""
    carried_loads = _carried(figures, points, plain)
    limit_ms = 5 * figures["unloaded"][plain][0]
    lines = [f"Load up to which p99 stays under {limit_ms:.0f} ms, 5 times the plain ensemble's "
             "latency without load (log p99 interpolated between measured loads):", ""]  # fmt: skip
    lines += ["| contender | load | times the plain ensemble's |", "|---|---|---|"]
    base = carried_loads.get(plain, 0.0)
    return lines + [
        f"| {m} | {load:.0%} | {f'{load / base:.2f}' if base else ''} |" for m, load in carried_loads.items()
    ]


def _line(point: Point, base: Point | None) -> str:
    ratios = ("", "") if base is None else (f"{point.p50_ms / base.p50_ms:.2f}", f"{point.p99_ms / base.p99_ms:.2f}")
    low, high = point.p99_range_ms
    loss = "" if point.loss is None or not point.exits else f"{point.loss:.2%}"
    early, lossless = (f"{point.reasons[k]:.0%}" if k in point.reasons else "" for k in ("early", "lossless"))
    return (
        f"| {point.load:.0%} | {point.model} | {point.requests} | {point.p50_ms:.1f} "
        f"| {point.p99_ms:.1f} ({low:.0f}-{high:.0f}) | {ratios[0]} | {ratios[1]} | {loss} | {early} | {lossless} "
        f"| {point.failed} |"
    )
