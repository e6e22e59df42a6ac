"""Polite callers while others give up: a storm of calls whose clients wait for two milliseconds.

    python -m benchmarks.storm [--mode engine] [--seconds 20] [--gateway]

Polite callers come at a fifth of what the server can do, all the time: once in the storm's own class of service, once
in one of their own, as a gateway would have it. After a quiet stretch the storm begins, 1150 calls a second, none of
which its caller waits for. Wanted: no polite caller waits over a second, nine of ten are answered, all is as before
two seconds after the storm, and memory stays bounded. With `--gateway` everybody comes through `exeunt gateway`.
Writes benchmarks/results/storm.md and .json, with the gateway storm_gateway.md and .json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks.serving.machine import machine
from benchmarks.stress.bag import GOLD, Votes, export_stress_bag
from benchmarks.stress.calls import METHOD, Call, Caller, closed_loop, message
from benchmarks.stress.memory import MemoryWatch
from exeunt.measuring.arrivals import poisson
from exeunt.serving.pip_server import serve
from exeunt.tables import markdown_table
from tests.gateway.running import Gateway

RESULTS = Path(__file__).parent / "results"
MODES = ("ensemble", "engine")
STORM_PER_S, STORM_PATIENCE_S = 1150.0, 0.002
POLITE_SHARE, QUIET_S, AFTER_S, SETTLED_S = 0.2, 10.0, 10.0, 2.0
CLASSES = {"the storm's class": "", "a class of their own": GOLD}  # of polite callers
LONGEST_S, LEAST_ANSWERED = 1.0, 0.9


@dataclass(frozen=True, slots=True)
class Stretch:
    """What polite callers saw before, in or after the storm.

    Attributes:
        name: which.
        calls: how many were sent.
        answered: share of them.
        p50_ms: of the answered.
        p99_ms: of the answered.
        longest_s: wait of any, answered or refused.
        refused: how many were told to come again.
        failed: how many ended otherwise.
    """

    name: str
    calls: int
    answered: float
    p50_ms: float
    p99_ms: float
    longest_s: float
    refused: int
    failed: int


def storm(url: str, content: bytes, begin: Event, end: Event, sent_counts: multiprocessing.Queue[int]) -> None:
    """In a process of its own: send calls that are given up at once, until told to end."""
    channel = grpc.insecure_channel(url)
    infer = channel.unary_unary(METHOD)
    begin.wait()
    begun_s, count = time.monotonic(), 0
    while not end.is_set():
        infer.future(content, timeout=STORM_PATIENCE_S)
        count += 1
        time.sleep(max(0.0, begun_s + count / STORM_PER_S - time.monotonic()))
    sent_counts.put(count)
    channel.close()


def summary(name: str, calls: Sequence[Call]) -> Stretch:
    """Of some calls, all of which have ended."""
    latencies_s = np.array([call.latency_s for call in calls if call.status == "OK"])
    p50_ms, p99_ms = 1e3 * np.percentile(latencies_s, [50, 99]) if len(latencies_s) else (np.nan, np.nan)
    refused = sum(call.status == "UNAVAILABLE" for call in calls)
    return Stretch(
        name,
        len(calls),
        len(latencies_s) / len(calls),
        float(p50_ms),
        float(p99_ms),
        max(call.latency_s for call in calls),
        refused,
        len(calls) - len(latencies_s) - refused,
    )


def polite_calls(contents: Sequence[bytes], rate_per_s: float, seconds: float) -> Iterator[Call]:
    """Calls of one row each."""
    arrivals_s = poisson(rate_per_s, int(2 * rate_per_s * seconds) + 10, seed=1)
    for number, due_s in enumerate(arrivals_s[arrivals_s < seconds]):
        pool_rows = np.array([number % len(contents)])
        yield Call(float(due_s), contents[int(pool_rows[0])], pool_rows)


def measure(
    repository: Path, state_dir: Path, service_class: str, storm_s: float, through_gateway: bool
) -> dict[str, Any]:
    """One storm, beside polite callers of one class of service."""
    rows = Votes(repository).rows
    contents = [message(row[None], **({"service_class": service_class} if service_class else {})) for row in rows]
    with serve(repository, state_dir=state_dir) as server, ExitStack() as stack:
        url = server.grpc_url
        if through_gateway:
            url = stack.enter_context(Gateway.before(server, repository)).grpc_url
        able_per_s = closed_loop(url, contents, 16, 10.0)
        with MemoryWatch(server.pid, server.name) as memory:
            calls, storm_calls = _play(url, message(rows[:1]), contents, POLITE_SHARE * able_per_s, storm_s)
        triton_ended = not server.running()
    ends_s = QUIET_S + storm_s
    stretches = [
        summary("before", [call for call in calls if call.due_s < QUIET_S]),
        summary("storm", [call for call in calls if QUIET_S <= call.due_s < ends_s]),
        summary("within 2 s after it", [call for call in calls if ends_s <= call.due_s < ends_s + SETTLED_S]),
        summary("later", [call for call in calls if ends_s + SETTLED_S <= call.due_s]),
    ]
    return {
        "able_per_s": able_per_s,
        "storm_calls": storm_calls,
        "triton_ended": triton_ended,
        "stretches": [asdict(stretch) for stretch in stretches],
        "peak_mb": memory.peak_mb(),
    }


def _play(
    url: str, given_up: bytes, contents: list[bytes], rate_per_s: float, storm_s: float
) -> tuple[list[Call], int]:
    context = multiprocessing.get_context("spawn")
    begin, end, sent_counts = context.Event(), context.Event(), context.Queue()
    process = context.Process(target=storm, args=(url, given_up, begin, end, sent_counts))
    process.start()
    calls = []
    try:
        with Caller(url) as caller:
            for call in caller.play(polite_calls(contents, rate_per_s, QUIET_S + storm_s + AFTER_S)):
                calls.append(call)
                if call.due_s >= QUIET_S:
                    begin.set()
                if call.due_s >= QUIET_S + storm_s:
                    end.set()
        return calls, sent_counts.get(timeout=60)
    finally:
        begin.set()
        end.set()
        process.join(60)


def markdown(by_mode: dict[str, dict[str, Any]], about: dict[str, Any], through_gateway: bool) -> str:
    """The table, with the machine."""
    lines, notes = [], []
    for mode, by_class in by_mode.items():
        for which, one in by_class.items():
            for stretch in one["stretches"]:
                lines.append([mode, which, stretch["name"], str(stretch["calls"]), f"{stretch['answered']:.1%}"])
                lines[-1] += [f"{stretch['p50_ms']:.0f}", f"{stretch['p99_ms']:.0f}", f"{stretch['longest_s']:.2f}"]
                lines[-1] += [str(stretch["refused"]), str(stretch["failed"])]
            largest = sorted(one["peak_mb"].items(), key=lambda item: -item[1])[:3]
            peaks = ", ".join(f"{process_name} {size:.0f} MB" for process_name, size in largest)
            triton_note = " Triton itself ended in it." if one["triton_ended"] else ""
            notes.append(
                f"- {mode}, {which}: {one['able_per_s']:.0f} requests/s from 16 callers; the storm sent "
                f"{one['storm_calls']} calls; the most that was held in memory: {peaks}.{triton_note}"
            )
    header = ["mode", "polite callers in", "when", "calls", "answered", "p50 ms", "p99 ms", "longest wait s"]
    header += ["refused", "failed"]
    where = ", ".join(f"{key} {value}" for key, value in about.items())
    table = markdown_table(header, lines)
    title = "# A storm of clients that give up" + (", through the gateway" if through_gateway else "")
    shared = " A high load average means that others used the machine, too."
    return "\n".join([title, "", table, "", *notes, "", f"Machine: {where}.{shared}", ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Do all of it, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=MODES, help="only this one; the other's last result is kept")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the storm lasts (20)")
    parser.add_argument("--gateway", action="store_true", help="everybody comes through `exeunt gateway`")
    args = parser.parse_args(argv)
    file = RESULTS / ("storm_gateway.json" if args.gateway else "storm.json")
    document = json.loads(file.read_text()) if file.exists() else {"modes": {}}
    for mode in [args.mode] if args.mode else MODES:
        about = machine()
        document["machine"] = about
        with tempfile.TemporaryDirectory() as folder:
            repository = export_stress_bag(Path(folder), mode)
            document["modes"][mode] = {
                which: measure(repository, Path(folder) / f"state{number}", service_class, args.seconds, args.gateway)
                for number, (which, service_class) in enumerate(CLASSES.items())
            }
        file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        file.with_suffix(".md").write_text(markdown(document["modes"], about, args.gateway), encoding="utf-8")
    print(markdown(document["modes"], document["machine"], args.gateway))
    stretches = [s for of_mode in document["modes"].values() for one in of_mode.values() for s in one["stretches"]]
    return 0 if all(s["longest_s"] < LONGEST_S and s["answered"] >= LEAST_ANSWERED for s in stretches) else 1


if __name__ == "__main__":
    raise SystemExit(main())
