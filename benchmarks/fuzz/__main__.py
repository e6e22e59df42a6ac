"""Odd requests against a real server in both modes, and whether good ones are answered right after every round.

    python -m benchmarks.fuzz [--requests 200000] [--seed 0] [--mode engine]

Sends so many requests to each mode: mutated JSON, JSON with binary tensors, gRPC messages and bytes that are none, and
every internal model with forged tickets and votes. After every round: good answers equal votes computed offline, no
process has died, nothing is in flight, promise_broken is 0. Writes benchmarks/results/fuzz.md and .json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fuzz.run import PhaseResult, fuzz
from benchmarks.serving.machine import machine
from exeunt.serving.pip_server import serve
from exeunt.tables import markdown_table
from tests.triton.qa.bag import GOLD, Served, export_qa_bag

RESULTS = Path(__file__).parents[1] / "results"
MODES = ("ensemble", "engine")


def markdown(results: dict[str, list[PhaseResult]], about: dict[str, object], seed: int) -> str:
    """The table, with the machine."""
    head = ("mode", "phase", "requests", "answered", "refused", "cut off", "hung", "complaints")
    lines = []
    for mode, phases in results.items():
        for phase in phases:
            good = sum(phase.outcomes[name] for name in ("HTTP 200", "gRPC OK"))
            cut = sum(times for name, times in phase.outcomes.items() if name.startswith("cut"))
            hung = phase.outcomes["hang"]
            refused = phase.requests - good - cut - hung - phase.outcomes["left out"]
            counts = map(str, (phase.requests, good, refused, cut, hung))
            lines.append((mode, phase.name, *counts, "; ".join(phase.complaints) or "none"))
    where = ", ".join(f"{key} {value}" for key, value in about.items())
    return "\n".join(["# Odd requests", "", markdown_table(head, lines), "", f"Seed {seed}. Machine: {where}.", ""])


def last_results() -> dict[str, list[PhaseResult]]:
    """By mode, as an earlier run kept them; nothing where none did."""
    file = RESULTS / "fuzz.json"
    document = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return {
        mode: [PhaseResult(**phase | {"outcomes": Counter(phase["outcomes"])}) for phase in document[mode]]
        for mode in MODES
        if mode in document
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Do all of it, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000, help="to each mode (200000)")
    parser.add_argument("--seed", type=int, default=0, help="of all chance (0)")
    parser.add_argument("--mode", choices=MODES, help="only this one; the last result of the other is kept")
    parser.add_argument("--log", type=Path, help="file of the servers' output; without it, it goes with the server")
    args = parser.parse_args(argv)
    results = last_results() if args.mode else {}
    about = machine()
    for mode in [args.mode] if args.mode else MODES:
        with tempfile.TemporaryDirectory() as folder:
            repository = export_qa_bag(Path(folder), mode, exit_table=GOLD)
            with serve(repository, state_dir=Path(folder) / "state", log=args.log) as server:
                say = f"{mode}: {{}}".format
                results[mode] = fuzz(
                    Served(repository, server),
                    args.requests,
                    args.seed,
                    lambda line, say=say: print(say(line), flush=True),
                )
            if not server.drained:
                results[mode][-1].complaints.append("the server did not drain")
        document = {"machine": about, "seed": args.seed} | {
            name: [vars(one) for one in of] for name, of in results.items()
        }
        RESULTS.joinpath("fuzz.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        RESULTS.joinpath("fuzz.md").write_text(markdown(results, about, args.seed), encoding="utf-8")
    print(markdown(results, about, args.seed))
    return 0 if not any(phase.complaints for phases in results.values() for phase in phases) else 1


if __name__ == "__main__":
    raise SystemExit(main())
