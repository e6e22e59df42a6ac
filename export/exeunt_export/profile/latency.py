"""Latency of segments and heads for batch sizes 1, 2, 4, ... on this machine, one thread each.

Each figure is the lowest of three rounds' medians, the rounds some time apart: other work on the machine only ever adds
to a time, and in bursts longer than one round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from exeunt_export import onnxfiles
from exeunt_export.cutting.chain import Chain

_TIMING_BUDGET_S = 0.02
ROUNDS = 3
Advance = Callable[[], None]


def batch_sizes(max_batch_size: int) -> list[int]:
    """1, 2, 4, ... and `max_batch_size` itself."""
    sizes = [1 << power for power in range(max_batch_size.bit_length()) if 1 << power < max_batch_size]
    return [*sizes, max_batch_size]


def profile_chain(
    chain: Chain, rows: Mapping[str, np.ndarray], sizes: Sequence[int], advance: Advance
) -> list[dict[int, float]]:
    """Time each segment.

    Args:
        chain: the segments.
        rows: real inputs, [rows, ...], repeated where a batch is larger.
        sizes: batch sizes.
        advance: called after each of ROUNDS rounds.

    Returns:
        per segment: batch size -> microseconds.
    """
    costs: list[dict[int, float]] = [{} for _ in chain.sessions]
    for _ in range(ROUNDS):
        for size in sizes:
            at_hand = {name: _resized(row, size) for name, row in rows.items()}
            for cost, session in zip(costs, chain.sessions, strict=True):
                us = onnxfiles.median_us(session, at_hand, _TIMING_BUDGET_S, chain.name)
                cost[size] = min(us, cost.get(size, us))
                at_hand |= onnxfiles.run(session, at_hand, chain.name)
        advance()
    return costs


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
            fed = {name: _resized(feature, size) for name, feature in features.items()}
            us = onnxfiles.median_us(session, fed, _TIMING_BUDGET_S, str(file))
            cost[size] = min(us, cost.get(size, us))
        advance()
    return cost


def _resized(rows: np.ndarray, size: int) -> np.ndarray:
    """The first `size` rows, repeated where there are fewer; only they are read."""
    return np.resize(rows[:size], (size, *rows.shape[1:]))
