"""How many rows one run takes: when tickets share it, and when a large piece is split."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from exeunt.engine.progress import Piece

WORTH_SPLITTING = 0.85  # a shard must take less than this share of the whole's time


def companions(
    piece: Piece,
    others: Iterable[Piece],
    run_us: Callable[[int], float],
    most_rows: int,
    waiting: int,
    workers: int,
) -> list[Piece]:
    """Unanswered tickets that had better share a run, since that lowers the summed waiting.

    A run of n rows for k tickets that takes r rows more ends later by c(n + r) - c(n), for all k. The newcomer would
    otherwise start when a worker is free, after c(n) / workers, and take c(r). All who wait behind gain what is saved.

    Args:
        piece: the most urgent one.
        others: ready pieces at the same segment, most urgent first.
        run_us: time of the run by number of rows.
        most_rows: of a run.
        waiting: unanswered tickets beside `piece`'s.
        workers: number of workers.

    Returns:
        those of `others` to take along.
    """
    companion_pieces: list[Piece] = []
    rows = len(piece)
    alone_us = run_us(rows)
    for other in others:
        more = len(other)
        if rows + more > most_rows:
            continue
        other_us = run_us(more)
        joint_us = run_us(rows + more)
        saved_us = alone_us + other_us - joint_us
        newcomer_us = alone_us / workers + other_us - joint_us
        behind = max(0, waiting - len(companion_pieces) - 1)
        if newcomer_us + saved_us * behind / workers <= (len(companion_pieces) + 1) * (joint_us - alone_us):
            break
        companion_pieces.append(other)
        rows, alone_us = rows + more, joint_us
    return companion_pieces


def fillers(piece: Piece, others: Iterable[Piece], run_us: Callable[[int], float], most_rows: int) -> list[Piece]:
    """Answered tickets that share a run of feedback: whatever saves worker time, up to `most_rows` rows."""
    filler_pieces: list[Piece] = []
    rows = len(piece)
    alone_us = run_us(rows)
    for other in others:
        more = len(other)
        if rows + more > most_rows:
            continue
        joint_us = run_us(rows + more)
        if joint_us < alone_us + run_us(more):
            filler_pieces.append(other)
            rows, alone_us = rows + more, joint_us
    return filler_pieces


def shards(piece: Piece, free_workers: int, run_us: Callable[[int], float]) -> int:
    """Into how many parts a piece is split so that free workers share its work; 1 = not at all."""
    rows = len(piece)
    parts = min(free_workers + 1, rows)
    if parts < 2:
        return 1
    whole_us = run_us(rows)
    part_us = run_us(-(-rows // parts))
    return parts if part_us < WORTH_SPLITTING * whole_us else 1
