"""The page of results."""

from __future__ import annotations

from typing import Any

PLAIN, FIXED, LEARNING = "plain ensemble", "ramps as exported", "ramps that learn"


def markdown(figures: dict[str, Any], about: str) -> str:
    """What was found, for people; `about` says what was measured."""
    lines = [f"# What ramps gain that learn in service: {figures['mode']} mode", "", *about.splitlines(), ""]
    lines += [figures["note"], ""] if "note" in figures else []
    lines += _offline(figures["offline"])
    if "served" in figures:
        lines += _served(figures["served"])
    machine = ", ".join(f"{key} {value}" for key, value in figures["machine"].items())
    return "\n".join(
        [*lines, f"`python -m benchmarks.ramp_learning --mode {figures['mode']}`. Machine: {machine}.", ""]
    )


def _offline(figures: dict[str, Any]) -> list[str]:
    """Mean latency along the stream."""
    shares = figures["shares"]
    parts = len(next(iter(shares.values()))["mean"])
    rows = figures["rows"] // parts
    spans = [f"{rows * part + 1} to {rows * (part + 1)}" for part in range(parts)]
    lines = ["## Decided without a server", ""]
    lines += [
        f"Mean latency of an answer, as a share of the full ensemble's, {figures['rate_per_s']:g} rows a second:",
        "",
    ]
    head = ("share of a core", *spans, "losses", "heads changed after row", "CPU s", "answered by exit, last part")
    lines += [f"| {' | '.join(head)} |"]
    lines += ["|---" * (parts + 5) + "|"]
    for share, item in shares.items():
        means = " | ".join(f"{mean:.3f}" for mean in item["mean"])
        changes = ", ".join(map(str, item["changes"])) or "-"
        exits = " / ".join(f"{part:.0%}" for part in item["exits"])
        lost = f"{item['lost']} of {figures['rows']}"
        lines.append(f"| {_name(share)} | {means} | {lost} | {changes} | {item['cpu_s']:.1f} | {exits} |")
    what = "agreement with the full vote / rows that may leave at 1 %, with hindsight on the threshold"
    lines += ["", f"The exits on the last {rows} rows, by the heads that were in use when these began: {what}.", ""]
    lines += [
        f"| share of a core | {' | '.join(f'{n} {tuple(depths)}' for n, depths in enumerate(figures['exits']))} |"
    ]
    lines += ["|---" * (len(figures["exits"]) + 1) + "|"]
    for share, item in shares.items():
        pairs = zip(item["agreement"], item["may_leave"], strict=True)
        cells = " | ".join(f"{agrees:.2f} / {leaves:.2f}" for agrees, leaves in pairs)
        lines.append(f"| {_name(share)} | {cells} |")
    return [*lines, ""]


def _name(share: str) -> str:
    return f"{float(share):.0%}" if float(share) else "ramps as exported"


def _served(figures: dict[str, Any]) -> list[str]:
    """Latencies of the real server, and what the exits are worth."""
    lines = ["## Served", ""]
    lines += ["| rows | contender | p50 ms | p99 ms | mean ms | of the plain p50 | losses | answered by exit |"]
    lines += ["|---" * 8 + "|"]
    count, between_rows = figures["measured"], figures["between"]
    for key, span in (
        ("first", f"1 to {count}"),
        ("last", f"{count + between_rows + 1} to {2 * count + between_rows}"),
    ):
        for name, item in figures[key].items():
            ratio = item["p50_ms"] / figures[key][PLAIN]["p50_ms"]
            exits = " / ".join(f"{share:.0%}" for share in item["exits"])
            cells = " | ".join(f"{item[q]:.1f}" for q in ("p50_ms", "p99_ms", "mean_ms"))
            lines.append(f"| {span} | {name} | {cells} | {ratio:.2f} | {item['losses']} of {item['rows']} | {exits} |")
    lines += ["", "The vote of each exit on the last rows, with hindsight on the threshold:", ""]
    lines += [
        "| exit (depths) | agrees, as exported | learnt | may leave at 1 %, as exported | learnt |",
        "|---" * 5 + "|",
    ]
    for number, depths in enumerate(figures["exits"]):
        cells = [
            figures[heads][key][number] for key in ("agreement", "may_leave") for heads in ("as_exported", "learnt")
        ]
        lines.append(f"| {number} {tuple(depths)} | {' | '.join(f'{share:.3f}' for share in cells)} |")
    ramps, seconds = figures["ramps"], figures["seconds"]
    counts = ", ".join(f"{ramps[f'{what}_total']:.0f} {what}" for what in ("fits", "judgements", "changes"))
    cpu_s = ramps["cpu_seconds_total"]
    share = f"{cpu_s:.1f} CPU seconds in {seconds:.0f} s ({cpu_s / seconds:.1%} of a core, 2 s in advance among them)"
    return [*lines, "", f"Learning took {share}: {counts} of heads.", ""]
