"""Where exits lie in time: placing a member's cuts, and aligning all members' cuts to exits (design: export, 1 and 5).

Members are thought to run side by side, one worker each; times are microseconds from the start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from exeunt_export.cutting.cuts import Boundary

_EARLY, _LATE = 0.5, 0.25  # how far from the wanted time a cut may lie, in steps between exits
_WIDTH_PENALTY, _BYTES_PENALTY = 0.15, 0.03  # steps per tensor beyond the first, and per doubling of the bytes
# steps per reader beyond the second, up to so many readers: runtimes keep tensors in blocks of channels, but a cut
# tensor comes in rows, and every reader that joins it with others rearranges it (benchmarks/results/cutting.md)
_READER_PENALTY, _MOST_READERS = 0.02, 12


def wanted_times(total_us: float, exits: int) -> list[float]:
    """Times at which `exits` exits split a run of `total_us` into equal steps."""
    return [total_us * (number + 1) / (exits + 1) for number in range(exits)]


def place_cuts(candidates: Sequence[Boundary], member_us: float, wanted_us: Sequence[float]) -> list[Boundary]:
    """The cuts of one member: for each wanted time before its end the best boundary near it, if there is one.

    Nearest in time, unless a narrower or smaller one is almost as near.

    Args:
        candidates: boundaries that may be cuts, in order.
        member_us: the member's whole time.
        wanted_us: increasing, equally spaced.

    Returns:
        cuts in order, none twice.
    """
    step = wanted_us[0] if wanted_us else 0.0
    placed: list[Boundary] = []
    for time_us in wanted_us:
        if member_us <= time_us + _LATE * step:
            break
        near = [
            candidate
            for candidate in candidates
            if time_us - _EARLY * step < candidate.share * member_us <= time_us + _LATE * step
            and (not placed or candidate.share > placed[-1].share)
        ]
        if near:
            placed.append(min(near, key=lambda item: abs(item.share * member_us - time_us) / step + price_steps(item)))
    return placed


def price_steps(boundary: Boundary) -> float:
    """What a cut costs beside its place, in steps: width, bytes, readers."""
    readers = min(max(boundary.readers, 2), _MOST_READERS) - 2
    bytes_ = math.log2(max(boundary.bytes_per_row, 1))
    return _WIDTH_PENALTY * (boundary.width - 1) + _BYTES_PENALTY * bytes_ + _READER_PENALTY * readers


def align(
    reached_us: Sequence[Sequence[float]], wanted_us: Sequence[float], late: float = _LATE
) -> list[tuple[int, ...]]:
    """The exits of the `parallel` schedule: every member at the deepest cut it has reached by each wanted time.

    Exits at which nobody votes yet, and exits that differ from their neighbour in no member, are left out; the last
    exit is always the full ensemble.

    Args:
        reached_us: per member the times at which its depths 1, 2, ... are reached, increasing; the last is its end.
        wanted_us: increasing.
        late: how late still counts as reached, in steps.

    Returns:
        a depth per member for each exit, 0 = not voting yet; no depth ever falls from one exit to the next.
    """
    full = tuple(len(times) for times in reached_us)
    slack = late * wanted_us[0] if wanted_us else 0.0
    exits: list[tuple[int, ...]] = []
    for time_us in wanted_us:
        depths = tuple(sum(time <= time_us + slack for time in times) for times in reached_us)
        if any(depths) and depths != full and (not exits or depths != exits[-1]):
            exits.append(depths)
    return [*exits, full]
