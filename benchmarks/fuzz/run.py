"""The phases: odd requests from several callers at once, then a look at the server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from benchmarks.fuzz.over_grpc import GrpcCaller, model_configs
from benchmarks.fuzz.over_http import HttpCaller
from benchmarks.fuzz.watching import Witness, config_of
from exeunt.serving.bags import served_bags
from tests.triton.qa.bag import ROWS, Served

PHASES = ("HTTP JSON", "HTTP binary", "gRPC", "internal models")
CALLERS = 4
ROUND = 5000  # requests of a phase before the server is looked at


@dataclass(frozen=True)
class PhaseResult:
    """One phase.

    Attributes:
        name: one of PHASES.
        requests: how many were sent.
        seconds: that took.
        outcomes: status -> how often.
        complaints: what was wrong; empty where all was as it should be.
    """

    name: str
    requests: int
    seconds: float
    outcomes: Counter[str]
    complaints: list[str]


def fuzz(served: Served, requests: int, seed: int, say: Callable[[str], None] = lambda line: None) -> list[PhaseResult]:
    """Send odd requests to a running server of the QA bag.

    Args:
        served: the server; nobody else may use it.
        requests: in all; every phase gets an equal share, in rounds.
        seed: of all chance.
        say: takes a line after every round.

    Returns:
        the phases, summed over their rounds.
    """
    public = {bag.manifest.bag for bag in served_bags(served.repository)}
    internal = model_configs([config_of(served, name) for name in served.server.models if name not in public])
    witness = Witness(served)
    results = {name: PhaseResult(name, 0, 0.0, Counter(), witness.complaints()) for name in PHASES}
    share = requests // len(PHASES)
    rounds = max(1, -(-share // ROUND))
    for number in range(rounds):
        count = share * (number + 1) // rounds - share * number // rounds
        for place, name in enumerate(PHASES):
            start_s = time.monotonic()
            outcomes = _round(served, internal, name, count, [seed, place, number])
            seconds = time.monotonic() - start_s
            complaints = [f"{odd} ({times} times)" for odd, times in outcomes.items() if _is_bad(odd)]
            complaints += witness.complaints()
            before = results[name]
            results[name] = PhaseResult(
                name,
                before.requests + count,
                before.seconds + seconds,
                before.outcomes + outcomes,
                before.complaints + complaints,
            )
            verdict = complaints or "good"
            say(f"round {number + 1} of {rounds}, {name}: {count} requests, {count / seconds:.0f}/s, {verdict}")
    return list(results.values())


def _round(served: Served, internal: list, name: str, count: int, seed: list[int]) -> Counter[str]:
    def call(caller: int) -> Counter[str]:
        rng = np.random.default_rng([*seed, caller])
        shares = count * (caller + 1) // CALLERS - count * caller // CALLERS
        over_http = name.startswith("HTTP")
        one = (
            HttpCaller(served.server.http_url, ROWS, rng)
            if over_http
            else GrpcCaller(served.server.grpc_url, ROWS, internal, rng)
        )
        send = {
            "HTTP JSON": "json_request",
            "HTTP binary": "binary_request",
            "gRPC": "message_request",
            "internal models": "internal_request",
        }[name]
        try:
            return Counter(getattr(one, send)() for _ in range(shares))
        finally:
            one.close()

    with ThreadPoolExecutor(CALLERS) as pool:
        return sum(pool.map(call, range(CALLERS)), Counter())


def _is_bad(outcome: str) -> bool:
    return outcome == "hang" or outcome.startswith("bug")
