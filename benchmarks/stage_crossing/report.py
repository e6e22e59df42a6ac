"""What was measured, as Markdown."""

from __future__ import annotations

from typing import Any

from exeunt.tables import markdown_table

NAMES = {"inside": "stages inside members", "whole": "stages of whole members", "plain": "plain ensemble"}


def markdown(figures: dict[str, Any]) -> str:
    """The page."""
    about = ", ".join(f"{key} {value}" for key, value in figures["machine"].items())
    crossing = [
        [f"{one['cut_kb']} KB", str(one["rows"]), f"{one['one_call_ms']:.2f}", f"{one['extra_ms']:.2f}"]
        for one in figures["crossing"]
    ]
    return f"""# Stages that end inside members

`python -m benchmarks.stage_crossing`: {about}.

## What a call more costs

Two models that do next to nothing with a cut tensor between them: in one call of one ensemble, and in two calls with
the tensor copied out of the first and into the second. Median milliseconds, turn by turn; `more` is the difference.

{markdown_table(["cut tensor of a row", "rows", "one call ms", "more ms"], crossing)}
{_bag(figures["nets"], figures["bag"], figures["turns"], figures["turn_s"]) if "bag" in figures else ""}"""


def _bag(nets: list[str], bag: dict[str, Any], turns: int, turn_s: float) -> str:
    closed_loops, load = bag["closed_loop"], bag["load"]
    lines = []
    for name, title in NAMES.items():
        open_loop, ratio = load[name], closed_loops[name]["rows_per_s"] / closed_loops["whole"]["rows_per_s"]
        work = f"{open_loop['work_per_answer']:.2f}" if "work_per_answer" in open_loop else ""
        exits = ", ".join(map(str, open_loop.get("exits", [])))
        line = [title, f"{closed_loops[name]['rows_per_s']:.1f}", f"{ratio:.2f}", f"{open_loop['p50_ms']:.1f}"]
        line += [
            f"{open_loop['p50_ms'] / load['whole']['p50_ms']:.2f}",
            f"{open_loop['mean_ms']:.1f}",
            f"{open_loop['p99_ms']:.0f}",
        ]
        lines.append([*line, work, exits])
    heads = ["", "4 callers: rows/s", "ratio", "30 %: p50 ms", "ratio", "mean ms", "p99 ms", "work", "rows by exit"]
    segments = "; ".join(" + ".join(f"{ms:.1f}" for ms in member) for member in bag["segments_ms"])
    return f"""
## One bag, both ways

EfficientNet-Lites ({", ".join(nets)}) with new last layers that tell four kinds of photographs
(benchmarks/stage_crossing/kinds.py); segments {segments} ms as profiled; exits {bag["exits"]};
stages end inside members at exits {bag["inner_stages"]}. Thresholds are those of the calibration rows (tuner `static`),
the same for both; feedback 0.1; {turns} turns of {turn_s:g} s each, contenders in turns on one machine. Ratios are to
stages of whole members. Work is that of an answer, in times of the full ensemble's.

{markdown_table(heads, lines)}
"""
