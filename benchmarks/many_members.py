"""What the engine adds to a bag of many members, with workers enough for all.

    python -m benchmarks.many_members [--members 24]

The members sleep, so that a machine with few cores can show it: nothing here computes. Each takes between 5 and 20 ms;
the full vote cannot come before the slowest. In turns: a sleep as long as that of the slowest, a request for the full
vote, a request that may leave after any member (all say the same, so it does once the tuner has learnt).
Writes benchmarks/results/many_members.md and .json.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.machine import machine
from exeunt.deciding.controller import Controller
from exeunt.deciding.request import ParsedOptions, Release, Request
from exeunt.engine.engine import Engine
from exeunt.engine.exit_times import exit_times
from exeunt.engine.sessions import Session
from exeunt.hosting.host import ControllerHost
from exeunt.manifest import Exit, Manifest, Member, Segment, Tensor
from exeunt.records.feedback import Feedback
from exeunt.settings import Settings
from exeunt.tables import markdown_table
from exeunt.tuning.registry import make_tuner
from exeunt.tuning.tuner import Setup

RESULTS = Path(__file__).parent / "results"
CLASSES = 10
FASTEST_US, SLOWEST_US = 5_000.0, 20_000.0


class Sleeper(Session):
    """A model that only takes time.

    Args:
        model: its name.
        us: how long a run takes.
    """

    def __init__(self, model: str, us: float) -> None:
        self.model = model
        self.packs_later = False
        self._us = us

    def run(self, outputs: Sequence[str], feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Sleep; every class is as probable as the others."""
        time.sleep(self._us / 1e6)
        rows = len(next(iter(feed.values())))
        return [np.full((rows, CLASSES), 1.0 / CLASSES, dtype=np.float32) for _ in outputs]


def bag(members: int) -> Manifest:
    """Members of one segment each, with an exit after every one of them, the fastest first."""
    x, probabilities = Tensor("x", "float32", (2,)), Tensor("PROBABILITIES", "float32", (CLASSES,))
    times_us = np.linspace(FASTEST_US, SLOWEST_US, members).tolist()
    parts = tuple(
        Member(f"m{number}", 1.0, (Segment(f"m{number}_s1", (x,), (probabilities,), None, {1: us}),), None)
        for number, us in enumerate(times_us)
    )
    depths = [tuple(int(member <= last) for member in range(members)) for last in range(members)]
    elapsed_us = exit_times([[us] for us in times_us], depths, members)
    exits = tuple(Exit(d, None, {1: us}, {1: 0.0}, 0.5) for d, us in zip(depths, elapsed_us, strict=True))
    settings = Settings(workers=members, shadow_share=0.0, gear="exits", lossless=False)
    return Manifest("many", "engine", "soft", "cascade", (x,), tuple("0123456789"), 8, parts, exits, settings, "")


class Host:
    """A host with an engine of sleeping members, and one caller.

    Args:
        members: of the bag.
        never: the caller asks for full votes, so that the engine asks for nothing else.
    """

    def __init__(self, members: int, never: bool) -> None:
        manifest = bag(members)
        nothing = np.zeros((0, members))
        tuner = make_tuner(Setup(manifest.costs(), manifest.settings, Feedback.observed(nothing, nothing)))
        segments = [member.segments[0] for member in manifest.members]
        sessions = {segment.model: Sleeper(segment.model, segment.cost_us[1]) for segment in segments}
        engine = Engine(manifest, Path(), sessions=sessions)
        self._options = ParsedOptions(never=never)
        self._reply_came = threading.Event()
        self._host = ControllerHost(Controller(manifest, tuner, np.random.default_rng(0)), engine, self._reply)
        self._host.start()
        self._request_count = 0

    def _reply(self, release: Release) -> None:
        self._reply_came.set()

    def once_ms(self) -> float:
        """From the controller's door to the reply."""
        self._reply_came.clear()
        self._request_count += 1
        start_s = time.perf_counter()
        self._host.submit(Request(self._request_count, 1, self._options), {"x": np.zeros((1, 2), np.float32)})
        self._reply_came.wait()
        return 1000.0 * (time.perf_counter() - start_s)

    def close(self) -> None:
        """Stop the threads."""
        self._host.drain(5.0)
        self._host.close()


def slept_ms() -> float:
    """What a sleep as long as the slowest member's really takes here."""
    start_s = time.perf_counter()
    time.sleep(SLOWEST_US / 1e6)
    return 1000.0 * (time.perf_counter() - start_s)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=24, help="of the bag (24)")
    parser.add_argument("--requests", type=int, default=300, help="of each kind (300)")
    args = parser.parse_args(argv)
    about: dict[str, Any] = machine()
    hosts = {"full vote asked for": Host(args.members, True), "an exit after every member": Host(args.members, False)}
    turns = [(slept_ms(), *(one.once_ms() for one in hosts.values())) for _ in range(args.requests)]
    for one in hosts.values():
        one.close()
    slept, *columns = np.array(turns).T
    slowest_ms = float(np.median(slept))
    ms_by_name = dict(zip(hosts, columns, strict=True))
    lines = []
    for name, ms in ms_by_name.items():
        p50, p99 = np.quantile(ms, [0.5, 0.99])
        lines.append((name, f"{p50:.1f} ms", f"{p50 / slowest_ms:.2f}", f"{p99:.1f} ms"))
    table = markdown_table(("", "p50", "of the slowest member", "p99"), lines)
    where = ", ".join(f"{key} {value}" for key, value in about.items())
    head = f"{args.members} sleeping members, as many workers; the slowest takes {slowest_ms:.1f} ms."
    page = "\n".join(["# Many members", "", head, "", table, "", f"Machine: {where}.", ""])
    print(page)
    RESULTS.joinpath("many_members.md").write_text(page, encoding="utf-8")
    document = {
        "machine": about,
        "slowest_ms": slowest_ms,
        "ms": {name: ms.tolist() for name, ms in ms_by_name.items()},
    }
    RESULTS.joinpath("many_members.json").write_text(json.dumps(document) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
