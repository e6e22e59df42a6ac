"""Closed loop: a fixed number of callers, each of whom sends its next request when it has its answer.

This gives the highest throughput that a model reaches.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exeunt_client.blocking import Client
from exeunt_client.errors import ClientError


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """What callers saw of one model.

    Attributes:
        model: who was asked.
        callers: how many at a time.
        answers: rows answered.
        failed: requests that got an error.
        seconds: how long the model was asked, over all its turns.
        latencies_ms: of every answer.
    """

    model: str
    callers: int
    answers: int
    failed: int
    seconds: float
    latencies_ms: np.ndarray

    @property
    def rows_per_s(self) -> float:
        """Throughput."""
        return self.answers / self.seconds

    @property
    def p50_ms(self) -> float:
        """Median latency; NaN without answers."""
        return float(np.median(self.latencies_ms)) if len(self.latencies_ms) else float("nan")


def run_closed_loop(
    url: str, models: Sequence[str], rows: np.ndarray, callers: int, turn_s: float, turns: int
) -> list[ClosedLoop]:
    """Ask models in turns, so that all of them share whatever else the machine does.

    Args:
        url: `grpc://HOST:PORT`.
        models: who is asked.
        rows: [rows, ...]; one row a request, over and over.
        callers: at a time.
        turn_s: length of a turn.
        turns: of each model.
    """
    latencies: dict[str, list[float]] = {model: [] for model in models}
    failed = dict.fromkeys(models, 0)
    spent_s = dict.fromkeys(models, 0.0)
    for turn in range(turns):
        first = turn % len(models)
        for model in (*models[first:], *models[:first]):
            begun_s = time.perf_counter()
            turn_latencies, errors = _turn(url, model, rows, callers, turn_s)
            spent_s[model] += time.perf_counter() - begun_s
            latencies[model] += turn_latencies
            failed[model] += errors
    return [
        ClosedLoop(
            model, callers, len(latencies[model]), failed[model], spent_s[model], 1e3 * np.array(latencies[model])
        )
        for model in models
    ]


def _turn(url: str, model: str, rows: np.ndarray, callers: int, turn_s: float) -> tuple[list[float], int]:
    latencies_s: list[float] = []
    errors: list[str] = []
    with Client(url, model) as client:
        client.infer(rows[:1])  # connect before the clock runs
        end_s = time.perf_counter() + turn_s

        def call(first: int) -> None:
            place = first
            while (begun_s := time.perf_counter()) < end_s:
                try:
                    client.infer(rows[place % len(rows)][None])
                    latencies_s.append(time.perf_counter() - begun_s)
                except ClientError as error:
                    errors.append(str(error))
                place += callers

        threads = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return latencies_s, len(errors)
