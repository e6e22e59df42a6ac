"""How much longer runs take while others run beside them, on this machine."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np

from exeunt_export.cutting.chain import Chain

_ROUNDS = 7  # of one run at a time and several in turns: other work on the machine comes in bursts
_PASSES_US = 25_000.0  # of one round, at least three passes
_MOST_WORKERS = 64


def slowdown_of(chain: Chain, rows: Mapping[str, np.ndarray], workers: int) -> tuple[float, ...]:
    """Time of a pass through a member by number of passes at a time, in times of one alone.

    Args:
        chain: of the member; its sessions are shared, as the engine's are.
        rows: real inputs, of which the first is run.
        workers: that the engine will have.

    Returns:
        by number of runs, 1 to `workers` (at most 64), each from 1 on and none below the one before.
    """
    most = min(workers, _MOST_WORKERS)
    if most < 2:
        return ()
    row = {name: array[:1] for name, array in rows.items()}
    first_us = min(_pass_us(chain, row) for _ in range(3))
    passes = max(3, int(_PASSES_US / first_us))
    sizes = sorted({*(1 << power for power in range(1, most.bit_length()) if 1 << power < most), most})
    ratios: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(_ROUNDS):
        for size in sizes:
            ratios[size].append(_together_us(chain, row, size, passes) / _together_us(chain, row, 1, passes))
    measured = np.maximum.accumulate([1.0, *(max(1.0, float(np.median(ratios[size]))) for size in sizes)])
    return tuple(np.interp(range(1, most + 1), [1, *sizes], measured).round(3).tolist())


def _together_us(chain: Chain, row: Mapping[str, np.ndarray], runs: int, passes: int) -> float:
    """Median time of a pass while so many run; each thread's first and last may run alone and do not count."""
    times_us: list[list[float]] = [[] for _ in range(runs)]
    barrier = threading.Barrier(runs)

    def work(own_us: list[float]) -> None:
        barrier.wait()
        own_us += [_pass_us(chain, row) for _ in range(passes)]

    threads = [threading.Thread(target=work, args=(own_us,)) for own_us in times_us]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return float(np.median([us for own_us in times_us for us in own_us[1:-1]]))


def _pass_us(chain: Chain, row: Mapping[str, np.ndarray]) -> float:
    return sum(us for _, us in chain.walk(row))
