"""The table of one, two and three replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.replicas.measure import FULL_MS, LOADS, MAX_LOSS, PER_S, WORKERS
from exeunt.tables import markdown_table

LIMIT_MS = 300.0  # about three times a full vote without load


def carried_per_s(points: Sequence[Mapping[str, Any]], replicas: int, limit_ms: float = LIMIT_MS) -> float:
    """Rate up to which p99 stays under a limit; between two measured loads the logarithm of p99 is interpolated.

    0 where the lowest load is beyond the limit, and the highest where none is.
    """
    by_rate = sorted((point["rate_per_s"], point["p99_ms"]) for point in points if point["replicas"] == replicas)
    within = 0.0
    for place, (rate, p99_ms) in enumerate(by_rate):
        if p99_ms < limit_ms:
            within = rate
            continue
        if place:
            low, low_ms = by_rate[place - 1]
            return float(low + (rate - low) * np.log(limit_ms / low_ms) / np.log(p99_ms / low_ms))
        return 0.0
    return float(within)


def markdown(figures: Mapping[str, Any]) -> str:
    """All of it, for people."""
    lines = ["# One, two and three replicas behind the balancer", ""]
    about = ", ".join(f"{key} {value}" for key, value in figures["machine"].items())
    lines += [f"`python -m benchmarks.replicas`, HAProxy ({figures['haproxy']}), deploy/haproxy; {about}.", ""]
    return (
        "\n".join(
            [
                *lines,
                *_sleeping(figures),
                *_real(figures["real"]),
                *_kills(figures["kills"]),
                *_newcomer(figures["newcomer"]),
            ]
        )
        + "\n"
    )


def _sleeping(figures: Mapping[str, Any]) -> list[str]:
    points, turns = figures["sleeping"], f"{figures['turns']} turns of {figures['turn_s']:g} s"
    lines = ["## Throughput: members that sleep", ""]
    lines += [
        f"Members sleep in place of computing: a full vote is {FULL_MS:g} ms of one of a replica's {WORKERS} workers, "
        f"so its workers do {PER_S:g} a second. Two cores cannot show how real work scales; this shows what balancer, "
        f"servers and controllers let through. Votes are real, nets untrained, {MAX_LOSS:.0%} loss promised. Open "
        f"loop, Poisson, gRPC over one connection; numbers of replicas took {turns} at every load. Loads are shares "
        "of the full votes that all replicas' workers can do.",
        "",
    ]
    cells = []
    counts = sorted({point["replicas"] for point in points})
    for count in counts:
        same_count = [point for point in points if point["replicas"] == count]
        times = [f"{point['p50_ms']:.0f} / {point['p99_ms']:.0f}" for point in same_count]
        early = np.mean([point["early"] for point in same_count])
        failed = sum(point["failed"] for point in same_count)
        cells.append((str(count), *times, str(failed), f"{early:.0%}"))
    head = ("replicas", *(f"p50 / p99 ms at {load:g}" for load in LOADS), "failed", "early")
    rates = {count: carried_per_s(points, count) for count in counts}
    carried = [(str(count), f"{rate:.1f}", f"{rate / rates[1]:.2f}") for count, rate in rates.items() if rates[1] > 0]
    limit = f"Requests a second up to which p99 stays under {LIMIT_MS:g} ms:"
    return [
        *lines,
        markdown_table(head, cells),
        "",
        limit,
        "",
        markdown_table(("replicas", "per s", "times one"), carried),
        "",
    ]


def _real(real: Mapping[str, Any]) -> list[str]:
    head = ("protocol", "full votes that differ from one replica's own", "requests", "loss", "failed")
    cells = []
    for kind in ("grpc", "http"):
        answers = real[kind]
        differ, loss = f"{answers['full_votes_that_differ']} of {answers['full_votes']}", f"{answers['loss']:.1%}"
        promised = f"{real['max_loss']:.0%} promised"
        cells.append((kind, differ, str(answers["requests"]), f"{loss} of {promised}", str(answers["failed"])))
    shares = np.array(real["rows_by_replica"]) / sum(real["rows_by_replica"])
    lines = ["## Answers: real members, three replicas", "", markdown_table(head, cells)]
    return [*lines, "", f"Answers by replica: {', '.join(f'{share:.0%}' for share in shares)}.", ""]


def _kills(figures: Mapping[str, Any]) -> list[str]:
    failed = {kind: f"{sum(counts)} (at most {max(counts)} at once)" for kind, counts in figures["failed"].items()}
    return [
        "## A replica is killed",
        "",
        f"{figures['times']} times, with everything that belongs to it, under three callers over gRPC (one connection) "
        "and three over HTTP, whose requests fit the balancer's 16 KB. Requests that failed in all: "
        f"{failed['grpc']} over gRPC, {failed['http']} over HTTP. {figures.get('note', '')}".rstrip(),
        "",
        *(f"- `{text}`" for text in figures["said"]),
        "",
    ]


def _newcomer(shares: Mapping[str, float]) -> list[str]:
    return [
        "## A newcomer's first 400 answers",
        "",
        "In simulated time, mean of four seeds (tests/sharing/test_newcomer.py): who leaves early.",
        "",
        markdown_table(("", "early"), [(name, f"{share:.1%}") for name, share in shares.items()]),
    ]
