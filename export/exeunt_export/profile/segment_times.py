"""Latency of segments and heads for batch sizes 1, 2, 4, ... on this machine, one thread each.

Each figure is the lowest median of three rounds, some time apart: other work on the machine only ever adds to a time,
and its bursts last longer than one round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from exeunt.bag_parts import first_rows
from exeunt_export import onnxfiles
from exeunt_export.cutting.chain import Chain

_TIMING_BUDGET_S = 0.02  # of one segment in one round
_MOST_PASSES = 200
_LONG_US = 30_000.0  # of passes that take longer two are enough, the first included
ROUNDS = 3
Advance = Callable[[], None]


def batch_sizes(max_batch_size: int) -> list[int]:
    """1, 2, 4, ... and `max_batch_size` itself."""
    sizes = [1 << power for power in range(max_batch_size.bit_length()) if 1 << power < max_batch_size]
    return [*sizes, max_batch_size]


def profile_chain(
    chain: Chain, rows: Mapping[str, np.ndarray], sizes: Sequence[int], advance: Advance
) -> list[dict[int, float]]:
    """Time each segment, in passes through the whole member, as it is served; the chain is closed after.

    Args:
        chain: the segments.
        rows: real inputs, [rows, ...], repeated where a batch is larger.
        sizes: batch sizes.
        advance: called after each of ROUNDS rounds.

    Returns:
        per segment: batch size -> microseconds.
    """
    costs: list[dict[int, float]] = [{} for _ in chain.files]
    pass_us: dict[int, float] = {}
    for round_ in range(ROUNDS):
        for size in sizes:
            if round_ > 1 and pass_us[size] > _LONG_US:
                continue
            at_hand = first_rows(rows, size)
            first = _pass_us(chain, at_hand) if round_ == 0 else []  # memory is taken, weights are brought into order
            long = sum(first) > _LONG_US
            for cost, us in zip(costs, first if long else _median_pass_us(chain, at_hand), strict=True):
                cost[size] = min(us, cost.get(size, us))
            pass_us[size] = sum(cost[size] for cost in costs)
        advance()
    chain.close()
    return costs


def _median_pass_us(chain: Chain, at_hand: Mapping[str, np.ndarray]) -> list[float]:
    """Per segment the median over as many passes through the member as the budget pays for, at least one."""
    passes: list[list[float]] = []
    end_s = time.monotonic() + _TIMING_BUDGET_S * len(chain.files)
    while not passes or (len(passes) < _MOST_PASSES and time.monotonic() < end_s):
        passes.append(_pass_us(chain, at_hand))
    return [float(us) for us in np.median(passes, axis=0)]


def _pass_us(chain: Chain, at_hand: Mapping[str, np.ndarray]) -> list[float]:
    return [us for _, us in chain.walk(at_hand)]


def profile_heads(
    file: Path, features: Mapping[str, np.ndarray], sizes: Sequence[int], advance: Advance
) -> dict[int, float]:
    """Time one exit's heads.

    Args:
        file: the heads model.
        features: its input -> float32 [rows, f], repeated where a batch is larger.
        sizes: batch sizes.
        advance: called after each of ROUNDS rounds.

    Returns:
        batch size -> microseconds.
    """
    session = onnxfiles.open_session(file)
    cost: dict[int, float] = {}
    for _ in range(ROUNDS):
        for size in sizes:
            fed = first_rows(features, size)
            us = onnxfiles.median_us(session, fed, _TIMING_BUDGET_S, str(file))
            cost[size] = min(us, cost.get(size, us))
        advance()
    return cost
