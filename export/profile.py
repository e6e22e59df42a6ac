"""Latency of segments and heads for batch sizes 1, 2, 4, ... on this machine, one thread each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from exeunt.export import onnxfiles
from exeunt.export.chain import Chain

_TIMING_BUDGET_S = 0.05
Advance = Callable[[], None]


def batch_sizes(max_batch_size: int) -> list[int]:
    """1, 2, 4, ... and `max_batch_size` itself."""
    sizes = [1 << power for power in range(max_batch_size.bit_length()) if 1 << power < max_batch_size]
    return [*sizes, max_batch_size]


def profile_chain(
    chain: Chain, rows: Mapping[str, np.ndarray], sizes: Sequence[int], progress: Advance
) -> list[dict[int, float]]:
    """Median time of each segment.

    Args:
        chain: the segments.
        rows: real inputs, [rows, ...], repeated where a batch is larger.
        sizes: batch sizes.
        progress: called after each batch size.

    Returns:
        per segment: batch size -> microseconds.
    """
    costs: list[dict[int, float]] = [{} for _ in chain.sessions]
    for size in sizes:
        at_hand = {name: np.resize(each, (size, *each.shape[1:])) for name, each in rows.items()}
        for cost, session in zip(costs, chain.sessions, strict=True):
            cost[size] = onnxfiles.median_us(session, at_hand, _TIMING_BUDGET_S, chain.name)
            at_hand |= onnxfiles.run(session, at_hand, chain.name)
        progress()
    return costs


def profile_heads(file: Path, features: Mapping[str, np.ndarray], sizes: Sequence[int]) -> dict[int, float]:
    """Median time of one exit's heads.

    Args:
        file: the heads model.
        features: its input -> float32 [rows, f], repeated where a batch is larger.
        sizes: batch sizes.

    Returns:
        batch size -> microseconds.
    """
    session = onnxfiles.open_session(file)
    return {
        size: onnxfiles.median_us(
            session,
            {name: np.resize(each, (size, each.shape[1])) for name, each in features.items()},
            _TIMING_BUDGET_S,
            str(file),
        )
        for size in sizes
    }
