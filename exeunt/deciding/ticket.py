"""Ticket: one in-flight batch of whole client requests, the members' votes on it, and its answers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from exeunt.deciding.admission import Admitted
from exeunt.deciding.batch import Batch
from exeunt.deciding.heads import EXPORTED, Heads
from exeunt.deciding.request import AnswerArrays, Release, Request
from exeunt.errors import ExeuntError, OverloadedError


class Ticket(Batch):
    """Client requests, merged; rows in their order.

    Args:
        id_: number of the ticket.
        admitted: what it is made of.
        classes: number of classes.
        admitted_us: when it was admitted.
        heads: what its ramps are run with, to its end.

    Attributes:
        probabilities: (member, depth) -> float32 [rows, classes], valid on the rows that were running.
        best: float32 [rows, classes], the vote at the deepest exit.
        released: for each request, whether it has been released; `unreleased_requests` is how many have not.
        has_deadline: some request has one.
        hurries: some request has one for whose sake work is chosen; see ParsedOptions.
        in_parts: some request is answered in parts.
    """

    def __init__(
        self, id_: int, admitted: Admitted, classes: int, admitted_us: int = 0, heads: Heads = EXPORTED
    ) -> None:
        requests, requested_exits = admitted.requests, admitted.requested_exits
        options = [request.options for request in requests]
        counts = [request.rows for request in requests]
        super().__init__(
            id_,
            len(requested_exits),
            _by_row([parsed.never for parsed in options], counts, np.dtype(bool)),
            _by_row([parsed.max_risk for parsed in options], counts, np.dtype(np.float32)),
            _by_row([parsed.service_class for parsed in options], counts, np.dtype(np.int16)),
            has_options=any(parsed.never or parsed.max_risk < math.inf for parsed in options),
            heads_version=heads.version,
        )
        self.heads = heads
        self.requests = requests
        self.requested_exits = requested_exits
        self.gear = admitted.gear
        self.staged = admitted.staged
        self.lean = admitted.lean
        self.admitted_us = admitted_us
        self.has_deadline = any(parsed.deadline_us is not None for parsed in options)
        self.hurries = any(parsed.hurries for parsed in options)
        self.probabilities: dict[tuple[int, int], np.ndarray] = {}
        self.best = np.empty((0, classes), dtype=np.float32)
        self.released = [False] * len(requests)
        self.unreleased_requests = len(requests)
        self.in_parts = any(request.in_parts for request in requests)
        self._sent = {n: np.zeros(r.rows, dtype=bool) for n, r in enumerate(requests) if r.in_parts}
        self._answers = np.empty((self.rows, classes), dtype=np.float32)
        for request in requests:
            if request.nan_rows is not None:
                self.note_non_finite(request.row_slice, request.nan_rows)

    def unreleased(self) -> list[Request]:
        """Requests that nobody has answered yet."""
        return [request for request, is_released in zip(self.requests, self.released, strict=True) if not is_released]

    def keep(self, member: int, depth: int, probabilities: np.ndarray, rows: np.ndarray | None) -> None:
        """Store a member's probabilities at a depth.

        Args:
            member: index of the member.
            depth: its depth.
            probabilities: float32 [given rows, classes]; kept without a copy where all rows are given.
            rows: indices of the given rows; None = all.
        """
        if rows is not None:
            whole = np.full((self.rows, probabilities.shape[1]), np.nan, dtype=np.float32)
            whole[rows] = probabilities
            probabilities = whole
        self.probabilities[member, depth] = probabilities

    def answer_with(self, vote: np.ndarray, rows: np.ndarray) -> None:
        """`rows` (indices) were decided with `vote` (float32 [rows, classes])."""
        if len(rows):
            self._answers[rows] = vote[rows]

    def answer_of(self, rows: slice | np.ndarray) -> AnswerArrays:
        """The decided answer of some rows."""
        return AnswerArrays(
            probabilities=self._answers[rows],
            label=self.answer[rows].astype(np.int64),
            exit=self.exit[rows],
            reason=self.reason[rows].astype(np.int32),
            risk=self.risk[rows],
        )

    def releases(self, now_us: int, error: ExeuntError | None = None) -> list[Release]:
        """Release the requests all of whose rows are decided or given up, each exactly once; and parts of some.

        Args:
            now_us: time of the release.
            error: what requests get that have rows without an answer; None: their deadline passed.
        """
        due: list[Release] = []
        for number, request in enumerate(self.requests):
            rows = request.row_slice
            if self.released[number]:
                continue
            ends = not (self.open_rows and self.open[rows].any())
            answered = ends and (self.exit[rows] >= 0).all()
            if request.in_parts:
                due += self._part(number, now_us, last=answered)
            if not ends:
                continue
            self.released[number] = True
            self.unreleased_requests -= 1
            if answered:
                if not request.in_parts:
                    due.append(Release(request.key, now_us - request.arrived_us, answer=self.answer_of(rows)))
            else:
                due.append(
                    deadline_release(request, now_us) if error is None else error_release(request, error, now_us)
                )
        return due

    def _part(self, number: int, now_us: int, last: bool) -> list[Release]:
        """Rows of a request that were answered since its last part; nothing where there are none."""
        request, sent = self.requests[number], self._sent[number]
        rows = np.flatnonzero((self.exit[request.row_slice] >= 0) & ~sent)
        if not len(rows):
            return []
        sent[rows] = True
        answer = self.answer_of(request.row_slice.start + rows)
        return [Release(request.key, now_us - request.arrived_us, answer=answer, rows=rows, last=last)]


def _by_row(values: list[Any], counts: list[int], dtype: np.dtype[Any]) -> np.ndarray:
    """Each request's value for each of its rows."""
    if len(values) == 1:
        return np.full(counts[0], values[0], dtype=dtype)
    return np.repeat(np.array(values, dtype=dtype), counts)


def error_release(request: Request, error: ExeuntError, now_us: int) -> Release:
    """The release of a request that gets an error."""
    return Release(request.key, now_us - request.arrived_us, error=error)


def deadline_release(request: Request, now_us: int) -> Release:
    """The release of a request whose deadline passed before any vote."""
    waited_ms = (now_us - request.arrived_us) / 1000
    name = "deadline_ms" if request.options.hurries else "timeout"
    error = OverloadedError(f"{name} passed after {waited_ms:.1f} ms, before any vote had arrived")
    return error_release(request, error, now_us)


def max_wait_release(request: Request, now_us: int) -> Release:
    """The release of a request that waited so long for a ticket that it is not begun any more."""
    waited_ms = (now_us - request.arrived_us) / 1000
    error = OverloadedError(f"not begun within {waited_ms:.0f} ms (max_wait_ms); come again")
    return error_release(request, error, now_us)
