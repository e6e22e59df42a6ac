"""The pieces that are ready to run, by class of work and urgency."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from exeunt.engine.progress import Kind, Piece

_Entry = tuple[int, int, float, int, int, Piece]  # ticket, place of exit, -remaining time, member, stamp, piece


class WorkQueue:
    """Ready pieces: a heap per class. An entry that no longer holds is noticed when it comes to the top.

    Args:
        look: the class of a ready piece now; None where its ticket has nothing left to run.
    """

    def __init__(self, look: Callable[[Piece], Kind | None]) -> None:
        self._look = look
        self._heaps: list[list[_Entry]] = [[] for _ in Kind]
        self._ready: dict[tuple[int, int], dict[Piece, None]] = {}
        self._count = 0
        self._stamp = 0

    def __len__(self) -> int:
        """Ready pieces."""
        return self._count

    def __contains__(self, piece: Piece) -> bool:
        """Whether a piece is ready."""
        return piece in self._ready.get((piece.member, piece.depth), ())

    def add(self, piece: Piece, kind: Kind) -> None:
        """A piece is ready."""
        self._ready.setdefault((piece.member, piece.depth), {})[piece] = None
        self._count += 1
        self.place(piece, kind)

    def place(self, piece: Piece, kind: Kind) -> None:
        """Give a ready piece the place of a class; its former entry no longer holds."""
        self._stamp += 1
        piece.stamp = self._stamp
        progress = piece.progress
        needed_at, minus_us = progress.order.urgency(piece.member, piece.depth, progress.decided)
        heap = self._heaps[kind]
        heapq.heappush(heap, (progress.number, needed_at, minus_us, piece.member, self._stamp, piece))
        if len(heap) > 64 + 4 * self._count:  # mostly entries that no longer hold: let go of their tensors
            heap[:] = [entry for entry in heap if _holds(entry)]
            heapq.heapify(heap)

    def remove(self, piece: Piece) -> None:
        """A piece is taken by a worker, or its ticket is over."""
        del self._ready[piece.member, piece.depth][piece]
        self._count -= 1
        piece.stamp = 0

    def head(self, kind: Kind) -> Piece | None:
        """The most urgent piece of a class."""
        heap = self._heaps[kind]
        while heap:
            piece = heap[0][-1]
            if not _holds(heap[0]):
                heapq.heappop(heap)
                continue
            kind_now = self._look(piece)
            if kind_now == kind:
                return piece
            heapq.heappop(heap)
            if kind_now is not None:
                self.place(piece, kind_now)
        return None

    def companions(self, head: Piece, kind: Kind) -> list[Piece]:
        """Other ready pieces of a class at the same segment, oldest first.

        A look at one piece can end its ticket and take the ticket's other pieces out of the queue.
        """
        ready = self._ready[head.member, head.depth]
        if len(ready) <= (head in ready):
            return []
        others = sorted((piece for piece in ready if piece is not head), key=lambda piece: piece.progress.number)
        fitting = [piece for piece in others if piece in ready and self._look(piece) == kind]
        return [piece for piece in fitting if piece in ready]


def _holds(entry: _Entry) -> bool:
    return entry[-1].stamp == entry[-2]
