"""When one ticket alone reaches each exit, on a number of workers, in the engine's order of work."""

from __future__ import annotations

from collections.abc import Sequence

Depths = tuple[int, ...]  # by member


def slowed(slowdown: Sequence[float], runs: int) -> float:
    """How many times longer a run takes while so many run.

    Workers share caches, memory, and often cores: two threads of one core are two of Linux's CPUs.

    Args:
        slowdown: by number of runs at a time, from 1 on; the last counts for more; empty: runs do not touch each other.
        runs: at a time, at least 1.
    """
    return slowdown[min(runs, len(slowdown)) - 1] if slowdown else 1.0


def work_until_us(segments_us: Sequence[Sequence[float]], depths: Depths) -> float:
    """Time of one core for the segments up to some depths, by member, one after the other."""
    return sum(sum(times_us[:depth]) for times_us, depth in zip(segments_us, depths, strict=True))


def exit_times(
    segments_us: Sequence[Sequence[float]],
    exits: Sequence[Depths],
    workers: int,
    targets: Sequence[int] | None = None,
    slowdown: Sequence[float] = (),
    works_ahead: bool = True,
) -> list[float]:
    """Time from the start until the segments of each exit have run.

    Does what the scheduler does with a ticket: segments that the next targeted exit waits for go first, the member
    farthest from it first of all; free workers work ahead for later ones, or not.

    Args:
        segments_us: per member the time of each segment, one row, while nothing else runs.
        exits: depths by member, none ever shallower than in the exit before; the last is the full ensemble.
        workers: runs at a time.
        targets: places of the exits that are worked towards, ascending, the last among them; None = all.
        slowdown: see `slowed`.
        works_ahead: whether free workers run what only a later target needs.

    Returns:
        microseconds per exit.
    """
    aims = range(len(exits)) if targets is None else targets
    depths = [0] * len(segments_us)
    ends_us: dict[int, float] = {}  # of the members' runs, at the present pace
    reached: list[float] = []
    now_us, pace = 0.0, 1.0
    while len(reached) < len(exits):
        aim = next(aim_ for aim_ in aims if aim_ >= len(reached))
        needed = exits[-1] if works_ahead else exits[aim]
        ready = [m for m in range(len(segments_us)) if m not in ends_us and depths[m] < needed[m]]
        ready.sort(key=lambda member: (*urgency(segments_us[member], exits, aims, aim, member, depths[member]), member))
        begun = ready[: workers - len(ends_us)]
        before, pace = pace, slowed(slowdown, len(ends_us) + len(begun))
        if pace != before:
            ends_us = {member: now_us + (end_us - now_us) * pace / before for member, end_us in ends_us.items()}
        ends_us |= {member: now_us + pace * segments_us[member][depths[member]] for member in begun}
        member = min(ends_us, key=lambda member: (ends_us[member], member))
        now_us = ends_us.pop(member)
        depths[member] += 1
        while len(reached) < len(exits) and all(d >= e for d, e in zip(depths, exits[len(reached)], strict=True)):
            reached.append(now_us)
    return reached


def urgency(
    times_us: Sequence[float], exits: Sequence[Depths], targets: Sequence[int], aim: int, member: int, depth: int
) -> tuple[int, float]:
    """How urgent a member's next segment is, the least first.

    Args:
        times_us: of the member's segments.
        exits: see `exit_times`; so for `targets`.
        targets: see `exits`.
        aim: target that the ticket works towards now.
        member: its number.
        depth: segments of it that have run.

    Returns:
        the target that first needs the segment, and minus the time from there to that target.
    """
    needed_at = next(target for target in targets if target >= aim and exits[target][member] > depth)
    return needed_at, -sum(times_us[depth : exits[needed_at][member]])
