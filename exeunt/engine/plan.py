"""What the scheduler looks up: the cost of every run, and which exit first needs which segment."""

from __future__ import annotations

import numpy as np

from exeunt.manifest import Manifest

UNPROFILED_ROW_US = 1000.0  # where the manifest holds no measurement


class RunCosts:
    """Time of one run of a segment by number of rows, from the manifest's profile.

    Between two profiled batch sizes the time is interpolated; beyond the largest it grows with the rows.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.most_rows = manifest.max_batch_size
        self._us = [[_by_rows(each.cost_us, self.most_rows) for each in m.segments] for m in manifest.members]

    def run_us(self, member: int, depth: int, rows: int) -> float:
        """Time of the segment that starts at `depth` with `rows` rows, 1 to max_batch_size."""
        return self._us[member][depth][rows]

    def longest_us(self) -> float:
        """Time of the longest segment with one row."""
        return max(segment[1] for member in self._us for segment in member)

    def rows_within(self, member: int, depth: int, limit_us: float) -> int:
        """Most rows whose run stays within `limit_us`; at least 1."""
        return max(1, int(np.searchsorted(np.maximum.accumulate(self._us[member][depth]), limit_us, side="right")) - 1)


def _by_rows(profile: dict[int, float], most_rows: int) -> list[float]:
    """Time for 0..most_rows rows."""
    if not profile:
        return [UNPROFILED_ROW_US * rows for rows in range(most_rows + 1)]
    sizes = sorted(profile)
    rows = np.arange(most_rows + 1)
    us = np.interp(rows, sizes, [profile[size] for size in sizes])
    beyond = rows > sizes[-1]
    us[beyond] = profile[sizes[-1]] * rows[beyond] / sizes[-1]
    us[0] = 0.0
    return [float(each) for each in us]


class Plan:
    """What a ticket's wanted exits need; the same for all tickets that want the same exits.

    Attributes:
        exits: numbers of the wanted exits, ascending; the last is the full ensemble.
        depths: by place in `exits`, the members' depths.
        place: [member][depth] -> place in `exits` of the first exit that needs the segment which starts at depth.
        remaining_us: [member][depth] -> time from there to what that exit needs of the member, one row.
        pairs: (member, depth) whose votes some wanted exit takes.
    """

    def __init__(self, manifest: Manifest, costs: RunCosts, wanted: np.ndarray) -> None:
        self.exits = [int(exit_) for exit_ in np.flatnonzero(wanted)]
        self.depths = [manifest.exits[exit_].depths for exit_ in self.exits]
        self.place: list[list[int]] = []
        self.remaining_us: list[list[float]] = []
        for number, member in enumerate(manifest.members):
            places = [
                next(place for place, depths in enumerate(self.depths) if depths[number] > depth)
                for depth in range(member.depth)
            ]
            self.place.append(places)
            self.remaining_us.append(
                [
                    sum(costs.run_us(number, each, 1) for each in range(depth, self.depths[place][number]))
                    for depth, place in enumerate(places)
                ]
            )
        self.pairs = {(number, depth) for depths in self.depths for number, depth in enumerate(depths) if depth}
