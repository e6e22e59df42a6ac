"""What the scheduler has done since it started; cumulative, read by the engine's metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SchedulerCounters:
    """What the scheduler has done since start."""

    runs: int = 0
    merged_runs: int = 0
    split_pieces: int = 0
    feedback_runs: int = 0
    overtaking_runs: int = 0
    left_out_rows: int = 0
    work_us: float = 0.0  # of all runs, as profiled
    full_work_us: float = 0.0  # what the full ensemble would have been for the rows that came in
    faults: int = 0  # errors of the scheduler itself that the engine survived
