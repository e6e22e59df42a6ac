"""When one ticket alone reaches each exit, on a number of workers, in the engine's order of work."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

Depths = tuple[int, ...]  # by member


def exit_times(
    segments_us: Sequence[Sequence[float]],
    exits: Sequence[Depths],
    workers: int,
    targets: Sequence[int] | None = None,
) -> list[float]:
    """Time from the start until the segments of each exit have run.

    Does what the scheduler does with a ticket: segments that the next targeted exit waits for go first, the member
    farthest from it first of all; free workers work ahead for later ones.

    Args:
        segments_us: per member the time of each segment, one row.
        exits: depths by member, none ever shallower than in the exit before; the last is the full ensemble.
        workers: runs at a time.
        targets: places of the exits that are worked towards, ascending, the last among them; None = all.

    Returns:
        microseconds per exit.
    """
    aims = range(len(exits)) if targets is None else targets
    depths = [0] * len(segments_us)
    busy = [False] * len(segments_us)
    reached: list[float] = []
    running: list[tuple[float, int]] = []
    now_us = 0.0
    while len(reached) < len(exits):
        aim = next(aim_ for aim_ in aims if aim_ >= len(reached))
        ready = [m for m, own in enumerate(segments_us) if not busy[m] and depths[m] < len(own)]
        ready.sort(key=lambda member: _urgency(segments_us, exits, aims, aim, member, depths[member]))
        for member in ready[: workers - len(running)]:
            busy[member] = True
            heapq.heappush(running, (now_us + segments_us[member][depths[member]], member))
        now_us, member = heapq.heappop(running)
        busy[member] = False
        depths[member] += 1
        while len(reached) < len(exits) and all(d >= e for d, e in zip(depths, exits[len(reached)], strict=True)):
            reached.append(now_us)
    return reached


def _urgency(
    segments_us: Sequence[Sequence[float]],
    exits: Sequence[Depths],
    aims: Sequence[int],
    aim: int,
    member: int,
    depth: int,
) -> tuple[int, float, int]:
    needs = next(aim_ for aim_ in aims if aim_ >= aim and exits[aim_][member] > depth)
    return needs, -sum(segments_us[member][depth : exits[needs][member]]), member
