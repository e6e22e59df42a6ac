"""Ticket: one in-flight batch and what is known of its rows."""

from __future__ import annotations

import numpy as np

from exeunt.contract import EARLY, LOSSLESS, Reason
from exeunt.deciding.request import AnswerArrays, Request
from exeunt.records.feedback import NEVER_SEEN, Feedback
from exeunt.tuning.tuner import Answered

UNANSWERED = -1  # in `exit`


class Ticket:
    """Whole client requests, merged; their votes, decisions and coins.

    Attributes:
        id: number of the ticket.
        requests: the merged requests, rows in this order.
        rows: number of rows.
        wanted: bool [exits], exits whose votes were asked for; the last always.
        open: bool [rows], not decided yet; `open_rows` is how many.
        finishes: bool [rows], False once a row is answered and its full vote is not wanted;
            `all_finish` if every row does.
        probabilities: (member, depth) -> float32 [rows, classes], valid on the rows that were running.
    """

    def __init__(self, id_: int, requests: tuple[Request, ...], wanted: np.ndarray, classes: int) -> None:
        rows, exits = sum(each.rows for each in requests), len(wanted)
        self.id = id_
        self.requests = requests
        self.rows = rows
        self.wanted = wanted
        self.open = np.ones(rows, dtype=bool)
        self.finishes = np.ones(rows, dtype=bool)
        self.open_rows = rows  # sums of the two, kept, since most batches are one row and looking takes longer
        self.all_finish = True
        self.probabilities: dict[tuple[int, int], np.ndarray] = {}
        self.deepest = -1  # deepest exit seen
        self.best = np.empty((0, classes), dtype=np.float32)  # vote at the deepest exit
        self.released = [False] * len(requests)

        self.labels = np.full((rows, exits), NEVER_SEEN, dtype=np.int32)
        self.confidence = np.full((rows, exits), np.nan, dtype=np.float32)
        self.order = np.full((rows, exits), NEVER_SEEN, dtype=np.int64)

        self.answer_probabilities = np.empty((rows, classes), dtype=np.float32)
        self.answer = np.full(rows, -1, dtype=np.int32)
        self.exit = np.full(rows, UNANSWERED, dtype=np.int32)
        self.reason = np.zeros(rows, dtype=np.int8)
        self.risk = np.zeros(rows, dtype=np.float32)
        self.q = np.ones(rows, dtype=np.float32)
        self.tuner_version = np.zeros(rows, dtype=np.int64)

        self.never = self._by_row([each.options.never for each in requests], bool)
        self.max_risk = self._by_row([each.options.max_risk for each in requests], np.float32)
        self.service_class = self._by_row([each.options.service_class for each in requests], np.int16)
        self.has_options = bool(self.never.any() or np.isfinite(self.max_risk).any())
        self.has_deadline = any(each.options.deadline_us is not None for each in requests)
        self.non_finite = np.zeros(rows, dtype=bool)  # NaN in the input or in a member's output
        for each in requests:
            if each.nan_rows is not None:
                self.non_finite[each.first_row : each.first_row + each.rows] = each.nan_rows

    def _by_row(self, values: list[object], dtype: type) -> np.ndarray:
        if len(values) == 1:
            return np.full(self.rows, values[0], dtype=dtype)
        return np.repeat(np.array(values, dtype=dtype), [each.rows for each in self.requests])

    @property
    def running(self) -> np.ndarray:
        """Rows whose segments still have to run: undecided, or decided and chosen to finish; bool [rows]."""
        return self.open | self.finishes

    def unreleased(self) -> list[Request]:
        """Requests that nobody has answered yet."""
        return [each for each, done in zip(self.requests, self.released, strict=True) if not done]

    def keep(self, member: int, depth: int, probabilities: np.ndarray, rows: np.ndarray | None) -> None:
        """Store a member's probabilities at a depth; the first that come count.

        Args:
            member: index of the member.
            depth: its depth.
            probabilities: float32 [rows given, classes]; kept without a copy where all rows are given.
            rows: indices of the rows given; None = all.
        """
        if (member, depth) in self.probabilities:
            return
        if rows is not None:
            whole = np.full((self.rows, probabilities.shape[1]), np.nan, dtype=np.float32)
            whole[rows] = probabilities
            probabilities = whole
        self.probabilities[member, depth] = probabilities

    def freeze(self, rows: np.ndarray, exit_: int, reason: Reason, vote: np.ndarray, risk: np.ndarray | float) -> None:
        """Decide `rows` (indices): their answer is `vote[rows]`, whatever comes later."""
        self.open[rows] = False
        self.open_rows -= len(rows)
        self.exit[rows] = exit_
        self.reason[rows] = reason
        self.risk[rows] = risk
        self.answer_probabilities[rows] = vote[rows]
        self.answer[rows] = self.labels[rows, exit_]

    def dismiss(self, rows: np.ndarray) -> None:
        """Give up `rows` (indices) that are open: they get no answer, and nothing of them runs on."""
        self.open[rows] = self.finishes[rows] = False
        self.open_rows -= len(rows)
        self.all_finish = False

    def answer_of(self, request: Request) -> AnswerArrays:
        """The decided answer of one request."""
        rows = slice(request.first_row, request.first_row + request.rows)
        return AnswerArrays(
            probabilities=self.answer_probabilities[rows],
            label=self.answer[rows].astype(np.int64),
            exit=self.exit[rows],
            reason=self.reason[rows].astype(np.int32),
            risk=self.risk[rows],
        )

    def answered(self, rows: np.ndarray) -> Answered:
        """The decisions of `rows` (indices) as the tuner hears them."""
        reason = self.reason[rows]
        outside = self.never[rows] | self.non_finite[rows] | (reason > LOSSLESS)
        return Answered(
            reason=reason,
            exit=self.exit[rows],
            service_class=self.service_class[rows],
            q=self.q[rows],
            finishes=self.finishes[rows],
            counted=~outside | (reason == EARLY),
        )

    def feedback(self, rows: np.ndarray) -> Feedback:
        """What `rows` (indices), which have finished, teach."""
        return Feedback(
            labels=self.labels[rows],
            confidence=self.confidence[rows],
            order=self.order[rows],
            answer=self.answer[rows],
            exit=self.exit[rows],
            reason=self.reason[rows],
            q=self.q[rows],
            service_class=self.service_class[rows],
            tuner_version=self.tuner_version[rows],
            max_risk=self.max_risk[rows],
            never=self.never[rows],
        )
