"""When requests arrive: Poisson times, and how models take turns. Pure; chance comes from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exeunt.errors import RequestError


def poisson(rate_per_s: float, requests: int, seed: int) -> np.ndarray:
    """Arrival times of a Poisson stream.

    Returns:
        float64 [requests], ascending seconds since the start of the stream.
    """
    if not rate_per_s > 0:
        raise RequestError(f"rate_per_s = {rate_per_s!r}; allowed: a number above 0")
    return np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate_per_s, requests))


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of the stream that one model gets, without another model in between.

    Attributes:
        model: who is asked.
        requests: int64 [n], positions in the stream.
        offsets_s: float64 [n], arrivals since the start of the block.
        stream_s: where in the stream's own time the block begins.
    """

    model: str
    requests: np.ndarray
    offsets_s: np.ndarray
    stream_s: float


def take_turns(models: Sequence[str], arrivals_s: np.ndarray, block_s: float) -> list[Block]:
    """Interleave models on one stream: every model gets every arrival, in blocks of `block_s` seconds.

    Blocks keep the models from slowing each other down, and being short they share whatever else the machine does; who
    begins changes from block to block.

    Args:
        models: who is asked.
        arrivals_s: float64 [requests], ascending.
        block_s: length of a block in stream time.

    Returns:
        the blocks in the order in which they run; stretches without arrivals are left out.
    """
    slots = np.floor_divide(arrivals_s, block_s).astype(np.int64)
    blocks = []
    for turn, slot in enumerate(np.unique(slots)):
        requests = np.flatnonzero(slots == slot)
        start_s = float(slot * block_s)
        first = turn % len(models)
        blocks += [
            Block(model, requests, arrivals_s[requests] - start_s, start_s)
            for model in (*models[first:], *models[:first])
        ]
    return blocks
