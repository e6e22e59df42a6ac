"""Tables and pictures of the serving benchmark."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving_load import Point
from exeunt.measuring.load import LoadRun

COLOURS = {"glyphs_full": "#444444", "glyphs": "#7a4f8f"}
ENGINE_COLOURS = ("#0b6e99", "#c4572b", "#6b7a3a")
SCHEDULES = ("parallel", "cascade", "auto")  # of the engine, as the contenders' names end
PACKAGES = ("numpy", "onnxruntime", "torch", "nvidia-pytriton", "tritonclient")

HOW_TO_READ = (
    "How to read it. Contenders share one server and take turns of ten seconds. First, requests at 30 % load let every "
    "contender earn its error budget; then came one caller, larger requests, all exits off, and the loads in order. "
    "The promise is about all answers since the start, and its constants (docs/promise.md) cover what few answers "
    "cannot show: beyond the capacity feedback is sampled and answers wait unconfirmed, so a single row may lie above "
    "1 %. Where p99 is in seconds the load is more than that contender carries; who is ahead there is chance. "
    "In the table of larger requests lossless stops count as early."
)


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    import os

    load = [round(each, 1) for each in os.getloadavg()]
    cores = len(os.sched_getaffinity(0))
    return {
        "cpu": model,
        "cores": cores,
        "load_average_at_start": load,
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def markdown(told: Mapping[str, Any], points: Sequence[Point], plain: str) -> str:
    """The report as Markdown; ratios are to the plain ensemble at the same load in the same run."""
    lines = ["# Serving a bag of three members on a CPU host", "", told["about"], "", HOW_TO_READ, ""]
    lines += ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in told["machine"].items()), ""]
    lines += _targets(told, points, plain)
    lines += ["## One caller, no load", "", "| contender | p50 ms | mean ms |", "|---|---|---|"]
    lines += [f"| {name} | {ms[0]:.1f} | {ms[1]:.1f} |" for name, ms in told["unloaded"].items()]
    lines += ["", f"The plain ensemble's capacity: {told['capacity_per_s']:.1f} full votes per second.", ""]
    lines += ["## Latency under load (open loop, Poisson)", ""]
    lines += ["| load | contender | p50 ms | p99 ms | p50 ratio | p99 ratio | loss | early | lossless | failed |"]
    lines += ["|---|---|---|---|---|---|---|---|---|---|"]
    for point in points:
        base = next((each for each in points if each.model == plain and each.load == point.load), None)
        lines.append(_line(point, base))
    lines += ["", *_throughput(told, points, plain)]
    if told.get("exits_off"):
        lines += ["", "## All exits off (every request asks for the full vote)", ""]
        lines += ["| contender | p50 ms | p99 ms | p50 ratio | p99 ratio |", "|---|---|---|---|---|"]
        off = [Point(**each) for each in told["exits_off"]]
        base = next(each for each in off if each.model == plain)
        lines += [
            f"| {each.model} | {each.p50_ms:.1f} | {each.p99_ms:.1f} | {each.p50_ms / base.p50_ms:.2f} "
            f"| {each.p99_ms / base.p99_ms:.2f} |"
            for each in off
        ]
    if told.get("batches"):
        lines += ["", "## Larger requests, one caller (a request leaves early only when all its rows do)", ""]
        lines += ["| rows | contender | p50 ms | early requests |", "|---|---|---|---|"]
        lines += [f"| {b['rows']} | {b['model']} | {b['p50_ms']:.1f} | {b['early']:.0%} |" for b in told["batches"]]
    lines += ["", *_promises(told["promises"])]
    lines += ["## Cost", "", "| contender | memory MB |", "|---|---|"]
    lines += [f"| {name} | {mb:.0f} |" for name, mb in told["memory_mb"].items()]
    own = told["own_time"]
    lines += ["", f"CPU time per input, caches warm: controller and scheduler {own['own_us']:.0f} us, tuner "
              f"{own['tuning_us']:.0f} us; together {_own_share(told):.2%} of the {own['all_us']:.0f} us that an input "
              "takes in all.", ""]  # fmt: skip
    busiest = max((point.client_cpu for point in points), default=0.0)
    lines += [f"The load generator used at most {busiest:.0%} of one core.", ""]
    return "\n".join(lines) + "\n"


def _promises(told: Mapping[str, Mapping[str, float]]) -> list[str]:
    """All answers since the start against eps T + P, as each controller has counted them."""
    how = (
        "Counted by the server, warming up included: lost answers must not pass the bound, eps T + P, T being all "
        "answers and P the most that awaited their full vote at once. Where feedback is sampled both are estimates "
        "(docs/promise.md, section 5)."
    )
    lines = ["## The promise since the start", "", how, ""]
    lines += ["| contender | answers | lost | bound | |", "|---|---|---|---|---|"]
    for model, each in told.items():
        bound = each["promised_loss"] * each["promised_rows"] + each["most_unconfirmed_rows"]
        kept = "**broken**" if each["promise_broken"] else "kept"
        lines.append(f"| {model} | {each['promised_rows']:.0f} | {each['lost_rows']:.0f} | {bound:.0f} | {kept} |")
    return [*lines, ""]


def _own_share(told: Mapping[str, Any]) -> float:
    own = told["own_time"]
    return float((own["own_us"] + own["tuning_us"]) / own["all_us"])


def _targets(told: Mapping[str, Any], points: Sequence[Point], plain: str) -> list[str]:
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
    carried = _carried(told, points, plain)
    if carried.get(plain):
        ratio = {model: carried[model] / carried[plain] for model in engines}
        parallel = next(model for model in engines if model.endswith("parallel"))
        rows.append(("throughput, parallel", ">= 1.8", (ratio[parallel], parallel), False))
        rows.append(("throughput, best schedule", ">= 2.5", max((ratio[m], m) for m in engines), False))
    off = {each["model"]: each for each in told.get("exits_off", ())}
    for name in ("p50_ms", "p99_ms"):
        if plain in off:
            told_off = max((off[m][name] / off[plain][name], m) for m in engines if m in off)
            rows.append((f"{name[:3]} with all exits off", "<= 1.05", told_off, True))
    rows.append(("controller's own CPU time", "<= 0.02", (_own_share(told), "with the tuner"), True))
    memory = told["memory_mb"]
    rows.append(("memory, the largest", "<= 1.0", max((memory[m] / memory[plain], m) for m in engines), True))
    lines = ["## Targets", "", "| | target | measured | |", "|---|---|---|---|"]
    for what, target, (value, who), at_most in rows:
        limit = float(target.split()[1])
        reached = value <= limit if at_most else value >= limit
        told_value = f"{value:.3f}" if limit < 0.1 else f"{value:.2f}"
        lines.append(f"| {what} | {target} | {told_value} ({who}) | {'reached' if reached else '**not reached**'} |")
    return [*lines, ""]


def _carried(told: Mapping[str, Any], points: Sequence[Point], plain: str) -> dict[str, float]:
    """By contender, the load up to which p99 stays under 5 times the plain ensemble's unloaded latency.

    Between two measured loads the logarithm of p99 is interpolated; below the lowest p99 is taken to grow with the
    load; beyond the highest nothing is assumed.
    """
    limit_ms = 5 * told["unloaded"][plain][0]
    carried = {}
    for model in dict.fromkeys(point.model for point in points):
        own = sorted((p.load, p.p99_ms) for p in points if p.model == model)
        within = 0.0
        for (load, p99_ms), (next_load, next_ms) in zip([(0.0, limit_ms / 5), *own], own, strict=False):
            if next_ms < limit_ms:
                within = next_load
                continue
            share = np.log(limit_ms / p99_ms) / np.log(next_ms / p99_ms)
            within = load + float(share) * (next_load - load)
            break
        carried[model] = within
    return carried


def _throughput(told: Mapping[str, Any], points: Sequence[Point], plain: str) -> list[str]:
    """How much load each contender carries."""
    carried = _carried(told, points, plain)
    lines = [f"Load up to which p99 stays under {5 * told['unloaded'][plain][0]:.0f} ms, 5 times the plain ensemble's "
             "latency without load (log p99 interpolated between measured loads):", ""]  # fmt: skip
    lines += ["| contender | load | times the plain ensemble's |", "|---|---|---|"]
    base = carried.get(plain, 0.0)
    return lines + [f"| {m} | {load:.0%} | {f'{load / base:.2f}' if base else ''} |" for m, load in carried.items()]


def _line(point: Point, base: Point | None) -> str:
    ratios = ("", "") if base is None else (f"{point.p50_ms / base.p50_ms:.2f}", f"{point.p99_ms / base.p99_ms:.2f}")
    low, high = point.p99_range_ms
    loss = "" if point.loss is None or not point.exits else f"{point.loss:.2%}"
    early, lossless = (f"{point.reasons[k]:.0%}" if k in point.reasons else "" for k in ("early", "lossless"))
    return (
        f"| {point.load:.0%} | {point.model} | {point.p50_ms:.1f} | {point.p99_ms:.1f} ({low:.0f}-{high:.0f}) "
        f"| {ratios[0]} | {ratios[1]} | {loss} | {early} | {lossless} | {point.failed} |"
    )


def draw_load(points: Sequence[Point], path: Path) -> None:
    """Median and 99th percentile over load, one line per contender."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharex=True, layout="constrained")
    for model in dict.fromkeys(point.model for point in points):
        own = sorted((point for point in points if point.model == model), key=lambda point: point.load)
        loads = [100 * point.load for point in own]
        for axis, name in zip(axes, ("p50", "p99"), strict=True):
            ranges = np.array([getattr(point, f"{name}_range_ms") for point in own])
            axis.plot(loads, [getattr(point, f"{name}_ms") for point in own], "o-", color=colour(model), label=model)
            axis.fill_between(loads, ranges[:, 0], ranges[:, 1], color=colour(model), alpha=0.15, linewidth=0)
    for axis, title in zip(axes, ("median", "99th percentile"), strict=True):
        axis.set(title=title, xlabel="arrivals, % of the plain ensemble's capacity", ylabel="latency, ms", yscale="log")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def draw_distribution(run: LoadRun, path: Path, title: str) -> None:
    """Distribution of latencies in one run."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for model, outcomes in run.outcomes.items():
        ms = np.sort([1e3 * (each.done_s - each.scheduled_s) for each in outcomes if each.answers is not None])
        axis.step(ms, np.arange(1, len(ms) + 1) / len(ms), color=colour(model), label=model)
    axis.set(title=title, xlabel="latency, ms", ylabel="share of requests", xscale="log", ylim=(0, 1))
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def draw_exits(run: LoadRun, models: Sequence[str], difficulty: np.ndarray, path: Path) -> None:
    """Share of answers per exit along the stream, with its difficulty."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(models), 1, figsize=(9, 2.4 * len(models)), sharex=True, layout="constrained")
    for axis, model in zip(np.atleast_1d(axes), models, strict=True):
        outcomes = sorted((o for o in run.outcomes[model] if o.answers is not None), key=lambda o: o.request)
        exits = np.array([int(each.answers.exits[0]) for each in outcomes if each.answers is not None])
        window = max(1, min(200, len(exits) // 10))
        kernel = np.ones(window) / window
        numbers = np.unique(exits)
        shares = [np.convolve(exits == number, kernel, mode="valid") for number in numbers]
        shades = plt.get_cmap("viridis")(np.linspace(0.15, 0.95, len(numbers)))
        axis.stackplot(np.arange(len(shares[0])), shares, labels=[f"exit {n}" for n in numbers], colors=shades)
        axis.plot(difficulty[: len(shares[0])], color="#c4572b", linewidth=1, label="difficulty")
        axis.set(title=model, ylabel="share of answers", ylim=(0, 1))
        axis.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    np.atleast_1d(axes)[-1].set_xlabel("request")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def colour(model: str) -> str:
    """A contender's colour, the same in every picture."""
    engines = ("_parallel", "_cascade", "_auto")
    return COLOURS.get(model) or next(
        (c for end, c in zip(engines, ENGINE_COLOURS, strict=True) if model.endswith(end)), "#999999"
    )
