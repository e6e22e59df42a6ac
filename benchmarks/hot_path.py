"""CPU time of a one-row request in the controller: decisions, tuner, accounts; no members, no server.

    python -m benchmarks.hot_path [--requests 5000] [--tuner budget] [--profile]

Two calls of the same work, with and without exits in use, take turns; printed are medians of the rounds.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections.abc import Callable, Sequence

import numpy as np

from exeunt.deciding.controller import Controller
from exeunt.deciding.request import Request
from exeunt.manifest import Exit, Manifest, Member, Segment, Tensor
from exeunt.records.feedback import Feedback
from exeunt.settings import Settings
from exeunt.tuning.registry import TUNERS, make_tuner
from exeunt.tuning.tuner import Setup

CLASSES = 36
EXITS = 4
ROUNDS = 5


def bag(tuner: str) -> Manifest:
    """Three members with four exits."""
    x = Tensor("x", "float32", (2,))
    members = tuple(
        Member(f"m{i}", 1.0, tuple(Segment(f"m{i}{d}", (x,), (x,), None, {1: 1.0}) for d in range(EXITS)), None)
        for i in range(3)
    )
    exits = tuple(Exit((d, d, d), None, {1: 100.0 * d}, {1: 1.0}, 0.9) for d in range(1, EXITS + 1))
    settings = Settings(tuner=tuner, shadow_share=0.0, max_loss=0.05)
    labels = tuple(map(str, range(CLASSES)))
    return Manifest("bag", "engine", "soft", "parallel", (x,), labels, 8, members, exits, settings, "")


def votes(rng: np.random.Generator) -> dict[tuple[int, int], np.ndarray]:
    """Every member's probabilities at every depth, of one row that is easy most of the time."""
    scores = rng.standard_normal((1, CLASSES)).astype(np.float32)
    scores[0, 0] += rng.choice([3.0, 9.0])
    member_votes = {}
    for member in range(3):
        for depth in range(1, EXITS + 1):
            noisy = np.exp(scores + (1 - depth / EXITS) * rng.standard_normal((1, CLASSES))).astype(np.float32)
            member_votes[member, depth] = noisy / noisy.sum(axis=1, keepdims=True)
    return member_votes


class Serving:
    """A controller that answers one-row requests one after the other.

    Args:
        tuner: name.
        exits_off: an operator has switched all exits off.
    """

    def __init__(self, tuner_name: str, exits_off: bool = False) -> None:
        self._bag = bag(tuner_name)
        nothing = np.zeros((0, EXITS))
        tuner = make_tuner(Setup(self._bag.costs(), self._bag.settings, Feedback.observed(nothing, nothing)))
        self._controller = Controller(self._bag, tuner, np.random.default_rng(0))
        if exits_off:
            self._controller.decisions.changes.set_exits_off(np.ones(EXITS, dtype=bool))
        rng = np.random.default_rng(1)
        self._votes = [votes(rng) for _ in range(64)]
        self._depths = [[(m, d) for m in range(3)] for d in range(1, EXITS + 1)]
        self._served = 0
        self.serve(2000)  # the tuner learns

    def serve(self, requests: int) -> float:
        """Answer requests; microseconds of CPU per request, jobs of the tuner left out."""
        controller, spent_s = self._controller, 0.0
        for _ in range(requests):
            self._served += 1
            here = self._votes[self._served % 64]
            arrivals = [{pair: here[pair] for pair in pairs} for pairs in self._depths]
            start = time.thread_time()
            controller.offer(Request(self._served, 1), self._served)
            ticket = controller.next_ticket(now_us=self._served)
            assert ticket is not None
            for exit_ in np.flatnonzero(ticket.requested_exits).tolist():
                controller.arrived(ticket.id, arrivals[exit_], self._served)
            spent_s += time.thread_time() - start
            if (job := controller.decisions.changes.retune()) is not None:
                controller.decisions.changes.adopt(job())
        return 1e6 * spent_s / requests

    @property
    def early_share(self) -> float:
        """Share of answers that left before the last exit."""
        answers = self._controller.counters.answers
        return float(answers[:-1].sum() / answers.sum())


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000, help="of one round")
    parser.add_argument("--tuner", choices=sorted(TUNERS), default="budget")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    args = parser.parse_args(argv)
    kinds = {"exits in use": Serving(args.tuner), "exits off": Serving(args.tuner, exits_off=True)}
    if args.profile:
        profiled(lambda: kinds["exits in use"].serve(args.requests))
        return 0
    cpu_us: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        for name, serving in kinds.items():
            cpu_us[name].append(serving.serve(args.requests))
    for name, serving in kinds.items():
        print(f"{name}: {np.median(cpu_us[name]):.0f} us per request, {serving.early_share:.0%} left early")
    return 0


def profiled(work: Callable[[], object]) -> None:
    """Print the functions that take most time."""
    profile = cProfile.Profile()
    profile.runcall(work)
    pstats.Stats(profile).sort_stats("tottime").print_stats(35)


if __name__ == "__main__":
    raise SystemExit(main())
