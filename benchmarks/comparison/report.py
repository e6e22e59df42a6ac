"""The comparison on paper: docs/comparison.md, its tables, and whether the targets are met."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.comparison.made_stream import LATE_ROWS, TICKET_ROWS
from benchmarks.comparison.plots import plot_prices
from benchmarks.comparison.run import BEST_FIXED, PAPER, POLICIES, ComparedStream, ComparisonPlan, drawn_runs
from exeunt.replay.plots import plot_course
from exeunt.replay.replay import RETUNE_LAG_ROWS
from exeunt.replay.run import ReplayResult
from exeunt.tables import markdown_table

DRAWN_SCENARIO = "abrupt shifts"
BAGS = {
    "digits": "`digits`: scikit-learn's handwritten digits at 32 px, real images; difficulty is the noise on them",
    "glyphs": "`glyphs`: 36 classes of rendered characters; difficulty is clutter, turn, contrast and noise",
}
Pick = Callable[[ReplayResult], float]


@dataclass(frozen=True, slots=True)
class Target:
    """One target of the comparison and what was measured: `met` says if it holds."""

    what: str
    target: str
    measured: str
    met: bool


def targets(streams: Sequence[ComparedStream]) -> list[Target]:
    """The targets on `budget`; latencies are compared per shape of stream, as means over the seeds."""
    budget = [run.results["budget"] for run in streams]
    broken = sum(result.violations > 0 for result in budget)
    worst = max(result.worst_window for result in budget)
    items = [
        Target(
            "streams and seeds on which the bound is passed, `budget`", "0", f"{broken} of {len(budget)}", broken == 0
        ),
        Target(
            "worst loss over any 1000 in a row, `budget`",
            "<= 1.3 %",
            f"{100 * worst:.1f} %",
            worst <= 0.013 + 1e-9,
        ),
    ]
    for drifts, most, kind in ((False, 1.03, "stable"), (True, 1.05, "drifting")):
        ratios = _ratios(streams, drifts)
        ratio_text = ", ".join(f"{name} {ratio:.3f}x" for name, ratio in ratios.items())
        what = f"mean latency, `budget`, against the best fixed thresholds in hindsight, {kind} streams"
        items.append(Target(what, f"<= {most:.2f}x", ratio_text, max(ratios.values(), default=0.0) <= most))
    return items


def against_hill_climb(streams: Sequence[ComparedStream]) -> list[list[str]]:
    """Lines of a table: per bag and shape, the mean latency of budget over hill_climb's, and the losses of both."""
    lines = []
    for data in _names(run.data for run in streams):
        for shape in _names(run.scenario for run in streams):
            same_stream = [run for run in streams if (run.data, run.scenario) == (data, shape)]
            budget, climb = (
                _mean(same_stream, policy, lambda result: result.mean_latency) for policy in ("budget", PAPER)
            )
            losses = [100 * _mean(same_stream, policy, lambda result: result.loss) for policy in ("budget", PAPER)]
            lines.append([f"{data} {shape}", f"{budget / climb:.3f}x", *(f"{loss:.2f} %" for loss in losses)])
    return lines


def _ratios(streams: Sequence[ComparedStream], drifts: bool) -> dict[str, float]:
    """Mean latency of budget over that of the best fixed thresholds, by bag and shape."""
    ratios = {}
    for data in _names(run.data for run in streams):
        for shape in _names(run.scenario for run in streams if run.drifts == drifts):
            same_stream = [run for run in streams if (run.data, run.scenario) == (data, shape)]
            latency = [
                _mean(same_stream, policy, lambda result: result.mean_latency) for policy in ("budget", BEST_FIXED)
            ]
            ratios[f"{data} {shape}"] = latency[0] / latency[1]
    return ratios


def write_report(plan: ComparisonPlan, streams: Sequence[ComparedStream], path: Path) -> None:
    """Write the Markdown file and its figures, which go to `figures/` beside it."""
    figures = path.parent / "figures"
    sections = [_head(plan), _targets_section(streams), _setting(plan)]
    for data in plan.data:
        same_data = [run for run in streams if run.data == data]
        stream, runs, costs = drawn_runs(plan, data, DRAWN_SCENARIO)
        plot_course(stream, runs, costs, plan.max_loss, figures / f"comparison-{data}-course.png")
        plot_prices(_by_scenario(same_data), plan.max_loss, figures / f"comparison-{data}-prices.png")
        sections.append(_data_section(plan, data, same_data, costs.latency_us(np.ones(len(costs.head_us), dtype=bool))))
    sections += [_times_section(streams), _reading()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def as_json(plan: ComparisonPlan, streams: Sequence[ComparedStream]) -> dict[str, Any]:
    """Everything as a table for JSON."""
    lines = [dataclasses.asdict(run) for run in streams]
    target_lines = [dataclasses.asdict(target) for target in targets(streams)]
    return {"plan": dataclasses.asdict(plan) | {"work": str(plan.work)}, "targets": target_lines, "streams": lines}


def _head(plan: ComparisonPlan) -> str:
    return (
        "# Comparison of tuners\n\n"
        f"Written by `python -m benchmarks.comparison --data {','.join(plan.data)} --rows {plan.rows} "
        f"--seeds {plan.seeds} --max-loss {plan.max_loss:g}`; do not edit it by hand. "
        "Every number was measured by that command: recorded votes of real bags, replayed through the tuners that "
        "serve."
    )


def _targets_section(streams: Sequence[ComparedStream]) -> str:
    lines = [
        [target.what, target.target, target.measured, "met" if target.met else "**not met**"]
        for target in targets(streams)
    ]
    header = ("stream", "mean latency, `budget` / `hill_climb`", "loss of `budget`", "loss of `hill_climb`")
    return (
        "## Targets\n\n"
        + markdown_table(("", "target", "measured", ""), lines)
        + "\n\nWhat one update and one recomputation cost is measured by `benchmarks/budget.py` and "
        "`benchmarks/hill_climb.py` ([results](../benchmarks/results)).\n\n"
        "Against `hill_climb` with the paper's constants, beside the loss that it really had, means over the seeds:\n\n"
        + markdown_table(header, against_hill_climb(streams))
    )


def _setting(plan: ComparisonPlan) -> str:
    sizes = ", ".join(map(str, TICKET_ROWS))
    bags = "\n".join(f"- {BAGS[name]}" for name in plan.data)
    return f"""## What is compared

Bags of three small CNNs each:

{bags}

Each stream has {plan.rows} rows. Seeds ({plan.seeds}) change images, noise and arrivals; a bag is trained once. Rows
arrive in batches of {sizes}; the full vote of a row comes at most {LATE_ROWS} rows late, in any order. The promise is
{plan.max_loss:.0%}. Latency is that of the bag's measured profile at batch 1, heads of the offered exits included, as a
share of the plain ensemble's. Lossless stops are on for everybody, the references included. A tuner's job is adopted
{RETUNE_LAG_ROWS} rows after it was started.

- *stable*: one difficulty. *abrupt shifts*: five difficulties, one after the other. *slow drift*: from easy to hard.
  *cyclic*: up and down every 3000 rows. *sorted by class*: all rows of one class, then of the next.
  *bursts of a hard class*: 100-300 rows in every 2000 are of the class that the first exit knows least, and harder.
- `static` has thresholds from the calibration rows, which are as hard as those the ramps were trained on.
  `patience` leaves at the second exit in a row that says the same. `hill_climb` is Apparate's algorithm with the
  paper's constants and with those of its public code. `budget` is the default.
- *best fixed*: of all vectors of one threshold per exit, and of all subsets of exits, the one with the least latency
  among those that lose at most {plan.max_loss:.0%} of the whole stream, found by exhaustive search over the whole
  stream. No server can have it. *oracle*: every row leaves at the first exit that says what the full vote will say."""


def _data_section(plan: ComparisonPlan, data: str, streams: Sequence[ComparedStream], latency_us: np.ndarray) -> str:
    shapes = _names(run.scenario for run in streams)
    lines = []
    for policy in streams[0].results:
        cells = [policy]
        for shape in shapes:
            cells.append(_cell([run for run in streams if run.scenario == shape], policy, plan.max_loss))
        lines.append(cells)
    costs = ", ".join(f"{us:.0f}" for us in latency_us)
    return (
        f"## {data}\n\nMean latency / loss / worst loss over any 1000 rows in a row; means over the seeds, the last "
        "the worst of them. Bold: the promise was passed on at least one seed "
        f"(losses above {plan.max_loss:.0%} of the answers so far plus the rows that awaited their full vote).\n\n"
        f"{markdown_table(('policy', *shapes), lines)}\n\n"
        f"Latency of an answer at each exit, all exits offered: {costs} us.\n\n"
        f"![Mean latency and loss of each policy on each stream](figures/comparison-{data}-prices.png)\n\n"
        f"![Latency and loss along {DRAWN_SCENARIO}](figures/comparison-{data}-course.png)"
    )


def _cell(streams: Sequence[ComparedStream], policy: str, max_loss: float) -> str:
    worst = max(run.results[policy].worst_window for run in streams)
    latency = _mean(streams, policy, lambda result: result.mean_latency)
    loss = _mean(streams, policy, lambda result: result.loss)
    cell = f"{latency:.3f} / {100 * loss:.2f} % / {100 * worst:.1f} %"
    promises = "hindsight" not in policy
    broken = promises and any(run.results[policy].violations for run in streams)
    return f"**{cell}**" if broken else cell


def _times_section(streams: Sequence[ComparedStream]) -> str:
    lines = []
    for policy in (policy_.label for policy_ in POLICIES):
        cells = [policy]
        cells.append(f"{_mean(streams, policy, lambda result: result.serving_us_per_row):.0f} us")
        jobs = _mean(streams, policy, lambda result: result.jobs)
        cells += [f"{jobs:.0f}", f"{_mean(streams, policy, lambda result: result.tuning_ms_per_job):.1f} ms"]
        lines.append(cells)
    header = ("tuner", "on the serving path, per row", "jobs per stream", "beside serving, per job")
    return (
        "## The tuners' time\n\nIn the replay, on whatever else the machine was doing; batches of 1 to 8 rows.\n\n"
        + markdown_table(header, lines)
    )


def _reading() -> str:
    return """## How to read it

Latency can always be bought with loss, so a mean latency says nothing without the loss beside it: a tuner in bold has
bought its latency with losses that were not promised. The best fixed thresholds may spend their losses where they buy
most, anywhere in the stream, and have no bad window to fear; `budget` has to keep the promise at every moment, so on
streams that get harder it cannot have spent early what it needs late. It can be faster than they are all the same: it
estimates risks per class and moves with the stream, and they do neither. Its constants were settled while the digits
streams were looked at, before there were glyphs streams.

To reproduce: `pip install -e '.[demo,torch]'`, then `python -m benchmarks.comparison`. Bags and streams are
kept in `runs/compare`; the costs of the exits are measured at the export, so other machines give other latencies. The
records there can be replayed one by one with `exeunt replay`.

What this page does not do: it measures no server. Latencies are sums of profiled times, without queues or network."""


def _by_scenario(streams: Sequence[ComparedStream]) -> dict[str, list[ReplayResult]]:
    """Results averaged over the seeds, by shape."""
    shapes = _names(run.scenario for run in streams)
    mean_results = {}
    for shape in shapes:
        same_shape = [run for run in streams if run.scenario == shape]
        mean_results[shape] = [
            dataclasses.replace(
                same_shape[0].results[policy],
                mean_latency=_mean(same_shape, policy, lambda result: result.mean_latency),
                loss=_mean(same_shape, policy, lambda result: result.loss),
            )
            for policy in same_shape[0].results
        ]
    return mean_results


def _mean(streams: Sequence[ComparedStream], policy: str, pick: Pick) -> float:
    return float(np.mean([pick(run.results[policy]) for run in streams]))


def _names(names: Iterable[str]) -> list[str]:
    """Each name once, in the order of first appearance."""
    return list(dict.fromkeys(names))
