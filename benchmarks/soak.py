"""A server at twice what it can do, for as long as one likes, in both modes.

    python -m benchmarks.soak [--minutes 60] [--mode engine] [--gateway]

Mixed batches, deadlines, two classes of service, a twentieth of the calls given up. Looks at: calls lost, rows answered
twice, answers that are not the vote offline, memory of every process minute by minute, and how soon p99 is what it was
once the load falls. A run adds a stretch to benchmarks/results/soak.json and writes soak.md anew: what is cut off costs
its own stretch alone. With `--gateway` everybody comes through `exeunt gateway`, which sends no cancellation on: where
one meets an answer, Triton before 25.05 ends now and then (server#7840, #8078). Then the stretch ends, and says so.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.machine import machine
from benchmarks.stress.bag import Votes, export_stress_bag
from benchmarks.stress.calls import Call, Caller, closed_loop
from benchmarks.stress.memory import MemoryWatch
from benchmarks.stress.mixed import Stretch, Tally, mixed_calls, p99s_ms
from exeunt.serving.pip_server import Server, serve
from exeunt.tables import markdown_table
from tests.gateway.running import Gateway
from tests.triton.calls import await_idle
from tests.triton.qa.metrics import read_samples, value_of

RESULTS = Path(__file__).parent / "results"
MODES = ("ensemble", "engine")
LOAD, QUIET_LOAD = 2.0, 0.2
CALM_S, WINDOW_S = 20.0, 5.0  # before and after the load; in windows
WARM_UP, HALF_WAY = 0.3, 0.65  # shares of the time
FLAT = 1.02  # from half way to the end: malloc's arenas grow in rare steps, and ever rarer
LOST_CALLS = "exeunt_runner", (("bag", "tiny"), ("name", "lost_calls_total"))


def soak(mode: str, minutes: float, seed: int, through_gateway: bool, log: Path | None = None) -> Stretch:
    """One stretch; the server's output goes to `log`."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        repository = export_stress_bag(Path(folder), mode)
        votes = Votes(repository)
        server = stack.enter_context(serve(repository, state_dir=Path(folder) / "state", log=log))
        url, pids = server.grpc_url, {}
        if through_gateway:
            gateway = stack.enter_context(Gateway.before(server, repository))
            url, pids = gateway.grpc_url, {"gateway": gateway.process.pid}
        plain = [call.content for call in mixed_calls(votes, 100.0, 2.0, seed=0)]
        able_per_s = closed_loop(url, plain, 16, 10.0)
        await_idle(server)
        return _stretch(server, url, MemoryWatch(server.pid, server.name, pids), votes, able_per_s, minutes, seed)


def _stretch(
    server: Server, url: str, memory: MemoryWatch, votes: Votes, able_per_s: float, minutes: float, seed: int
) -> Stretch:
    answered_before = value_of(server, "exeunt_answers_total")
    tally, falls_s = Tally(votes), CALM_S + 60.0 * minutes
    parts = [(QUIET_LOAD, CALM_S, 0.0), (LOAD, 60.0 * minutes, CALM_S), (QUIET_LOAD, CALM_S, falls_s)]
    with Caller(url) as caller:
        for number, (load, seconds, starts_s) in enumerate(parts):
            calls = mixed_calls(votes, load * able_per_s, seconds, seed=10 * seed + number, starts_s=0.0)
            with memory if load == LOAD else nullcontext():
                _play(server, caller, calls, tally, starts_s)
    windows = int(CALM_S / WINDOW_S)
    return Stretch(
        minutes,
        able_per_s,
        tally.sent,
        tally.calls_by_status["OK"],
        tally.calls_by_status["UNAVAILABLE"],
        tally.calls_by_status["CANCELLED"],
        tally.lost,
        _doubled_rows(server, tally, answered_before),
        tally.wrong_rows,
        dict(tally.odd),
        float(np.nanmax(p99s_ms(tally.times, 0.0, windows, WINDOW_S))),
        p99s_ms(tally.times, falls_s, windows, WINDOW_S),
        memory.growth((WARM_UP, HALF_WAY, 1.0)),
        memory.by_minute(),
    )


def _doubled_rows(server: Server, tally: Tally, answered_before: float) -> int:
    """Rows that the server answered beyond those that somebody got or had given up; adds to what is odd."""
    if not server.running():
        return 0  # its counters are gone
    try:
        await_idle(server)
    except AssertionError as error:  # what was measured is kept: it tells what was lost
        tally.odd[str(error)] += 1
    if lost_calls := read_samples(server).get(LOST_CALLS, 0.0):
        tally.odd[f"{lost_calls:g} calls of the members were never answered by Triton, and made once more"] += 1
    answered_rows = value_of(server, "exeunt_answers_total") - answered_before
    return max(0, round(answered_rows - tally.rows_answered - tally.rows_cancelled))


def _play(server: Server, caller: Caller, calls: Iterator[Call], tally: Tally, starts_s: float) -> None:
    """Send calls until the last, or until the server has ended."""

    def ended(call: Call) -> None:
        call.due_s += starts_s
        tally.add(call)

    if not server.running():
        return
    for call in caller.play(calls, ended):
        tally.sent += 1
        if not server.running():
            tally.odd[f"Triton itself ended after {(starts_s + call.due_s) / 60.0:.1f} minutes"] += 1
            return


def markdown(stretches: dict[str, list[dict[str, Any]]], about: dict[str, Any]) -> str:
    """The tables, with the machine."""
    lines, memory = [], []
    for mode, of_mode in stretches.items():
        for one in of_mode:
            mode_name = f"{mode}, gateway" if one.get("through_gateway") else mode
            counts = [one[key] for key in ("sent", "answered", "refused", "cancelled", "lost", "doubled_rows")]
            after = " / ".join(f"{p99:.0f}" for p99 in one["p99_after_ms"])
            lines.append([mode_name, f"{one['minutes']:g}", f"{one['able_per_s']:.0f}", *map(str, counts)])
            lines[-1] += [str(one["wrong_rows"]), str(sum(one["odd"].values()))]
            lines[-1] += [f"{one['p99_before_ms']:.0f}", after]
            for process_name, sizes in sorted(one["memory_mb"].items()):
                steps = [f"{later / max(size, 1e-9) - 1:+.1%}" for size, later in pairwise(sizes)]
                half_way = f"{sizes[1]:.1f}" if len(sizes) == 3 else ""  # older stretches do not have it
                memory.append(
                    [mode_name, process_name, f"{sizes[0]:.1f}", half_way, f"{sizes[-1]:.1f}", ", then ".join(steps)]
                )
    header = ["mode", "minutes", "able calls/s", "sent", "answered", "refused", "cancelled", "lost", "rows twice"]
    header += ["rows wrong", "odd errors", "p99 before ms", "p99 after, by 5 s, ms"]
    where = ", ".join(f"{key} {value}" for key, value in about.items())
    memory_table = markdown_table(["mode", "process", "MB after warm-up", "half way", "at the end", ""], memory)
    table = markdown_table(header, lines)
    text = ["# At twice what the server can do", "", table, "", "Memory of its own, by process:", "", memory_table, ""]
    return "\n".join([*text, f"Machine: {where}.", ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Add a stretch to each mode, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="of load, in each mode (60)")
    parser.add_argument("--mode", choices=MODES, help="only this one")
    parser.add_argument("--gateway", action="store_true", help="everybody comes through `exeunt gateway`")
    parser.add_argument("--log", type=Path, help="file of the servers' output; without it, it goes with the server")
    args = parser.parse_args(argv)
    file = RESULTS / "soak.json"
    document = json.loads(file.read_text()) if file.exists() else {"modes": {mode: [] for mode in MODES}}
    for mode in [args.mode] if args.mode else MODES:
        document["machine"] = machine()
        stretches = document["modes"][mode]
        stretch = soak(mode, args.minutes, len(stretches), args.gateway, args.log)
        stretches.append({"through_gateway": args.gateway, **stretch.to_mapping()})
        file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        (RESULTS / "soak.md").write_text(markdown(document["modes"], document["machine"]), encoding="utf-8")
    print(markdown(document["modes"], document["machine"]))
    return 0 if all(_good(one) for of_mode in document["modes"].values() for one in of_mode) else 1


def _good(one: dict[str, Any]) -> bool:
    clean = not (one["lost"] or one["doubled_rows"] or one["wrong_rows"] or one["odd"])
    flat = all(sizes[-1] <= FLAT * sizes[-2] for sizes in one["memory_mb"].values())
    return clean and flat and one["p99_after_ms"][1] <= one["p99_before_ms"]


if __name__ == "__main__":
    raise SystemExit(main())
