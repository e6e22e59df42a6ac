"""One, two and three replicas behind the balancer of deploy/haproxy.

    python -m benchmarks.replicas [--turns 4] [--turn-s 10]

Throughput comes from members that sleep: on two cores replicas of real members would share the same cores, and the
table would be one of the machine. Their votes are real. Real members behind the same balancer show that answers are
right. A newcomer with and without a store is simulated, as in tests/sharing. Writes benchmarks/results/replicas.md and
.json. Needs HAProxy (Debian, or the wheel of the extra `check`); a quarter of an hour or more.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.replicas.measure import correctness, kills, scaling
from benchmarks.replicas.report import markdown
from benchmarks.serving.machine import machine
from tests.deploy.balancer import binaries
from tests.sharing.test_newcomer import early_shares

RESULTS = Path(__file__).parents[1] / "results"
SEEDS, KILLS = 4, 10


def newcomer() -> dict[str, float]:
    """Early shares of a sibling, of a newcomer with a store and of one without, after 400 answers."""
    names = ("sibling", "with a store", "without one")
    means = np.mean([early_shares(seed) for seed in range(SEEDS)], axis=0)
    return dict(zip(names, map(float, means), strict=True))


def main(argv: Sequence[str] | None = None) -> int:
    """Do all of it, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=4, help="of every number of replicas at every load (4)")
    parser.add_argument("--turn-s", type=float, default=10.0, help="seconds of a turn (10)")
    args = parser.parse_args(argv)
    figures: dict[str, Any] = {"machine": machine(), "turns": args.turns, "turn_s": args.turn_s}
    kind, binary = next(iter(binaries().items()))
    figures["haproxy"] = kind
    figures["newcomer"] = newcomer()
    with tempfile.TemporaryDirectory() as folder:
        figures["real"] = correctness(Path(folder) / "real", binary)
        figures["kills"] = kills(Path(folder) / "kills", binary, KILLS)
        print(figures["real"], figures["kills"], flush=True)
        figures["sleeping"] = scaling(Path(folder) / "sleeping", binary, args.turns, args.turn_s)
    RESULTS.joinpath("replicas.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    RESULTS.joinpath("replicas.md").write_text(markdown(figures), encoding="utf-8")
    print(markdown(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
