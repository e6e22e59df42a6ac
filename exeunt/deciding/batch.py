"""Batch: the rows of one ticket, what the votes said about them, and what was decided; in arrays.

Coins: which of its answered rows run on to the full vote, which becomes feedback; each has a toss of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from exeunt.contract import EARLY, Reason
from exeunt.records.decided import DecidedRows
from exeunt.records.feedback import NEVER_SEEN, Feedback, promise_counts
from exeunt.settings import Settings
from exeunt.tuning.tuner import Answered

UNANSWERED = -1  # in `exit` and `answer`


@lru_cache(maxsize=256)
def _blank(rows: int, exits: int) -> dict[str, np.ndarray]:
    """Arrays of a batch before anything has happened; never changed."""
    return {
        "trues": np.ones((2, rows), dtype=bool),
        "falses": np.zeros((2, rows), dtype=bool),
        "labels": np.full((rows, exits), NEVER_SEEN, dtype=np.int32),
        "confidence": np.full((rows, exits), np.nan, dtype=np.float32),
        "order": np.full((rows, exits), NEVER_SEEN, dtype=np.int64),
        "answers": np.full((2, rows), UNANSWERED, dtype=np.int32),
        "moments": np.full((3, rows), NEVER_SEEN, dtype=np.int64),
        "reason": np.zeros(rows, dtype=np.int8),
        "risk": np.zeros(rows, dtype=np.float32),
        "q": np.ones(rows, dtype=np.float32),
    }


class Batch:
    """State of some rows, changed by exeunt.deciding.decisions only.

    Args:
        id_: number of the ticket.
        exits: number of exits.
        never: bool [rows], the caller asked for the full vote.
        max_risk: float32 [rows], leave early only below this risk.
        service_class: int16 [rows].
        has_options: some row may have `never` or `max_risk`.
        heads_version: see the attribute.

    Attributes:
        id: number of the ticket.
        rows: number of rows.
        heads_version: of the ramps' heads that it was admitted with.
        open: bool [rows], not decided yet; `open_rows` is how many.
        finishes: bool [rows], False once a row is decided and its full vote is not wanted; `all_finish` if every row
            does.
        waits_for_toss: bool [rows], answered, and whether it finishes has not been tossed yet; `tossed_late` if any
            row has ever waited so.
        deepest: deepest exit seen, -1 before the first.
        over: nothing is awaited any more.
        labels, confidence, order: see Feedback.
        answer, exit, reason, risk, q, tuner_version: of the decision.
        decided, ended: see DecidedRows.
        non_finite: bool [rows], the input or a member's output was not finite; such a row never leaves early.
    """

    def __init__(
        self,
        id_: int,
        exits: int,
        never: np.ndarray,
        max_risk: np.ndarray,
        service_class: np.ndarray,
        has_options: bool = True,
        heads_version: int = 0,
    ) -> None:
        rows = len(never)
        self.id = id_
        self.heads_version = heads_version
        self.rows = rows
        blank = _blank(rows, exits)  # copied: a batch is one row mostly, and most of its cost is that of making arrays
        self.open, self.finishes = blank["trues"].copy()
        self.waits_for_toss, self.non_finite = blank["falses"].copy()
        self.tossed_late = False
        self.open_rows = rows  # open_rows and all_finish sum up `open` and `finishes`: to look takes longer
        self.all_finish = True
        self.deepest = -1
        self.over = False

        self.labels, self.confidence = blank["labels"].copy(), blank["confidence"].copy()
        self.order = blank["order"].copy()
        self.answer, self.exit = blank["answers"].copy()
        self.decided, self.ended, self.tuner_version = blank["moments"].copy()
        self.reason, self.risk, self.q = blank["reason"].copy(), blank["risk"].copy(), blank["q"].copy()

        self.never = never
        self.max_risk = max_risk
        self.service_class = service_class
        self.has_options = has_options
        self._any_non_finite = False
        self._non_finite_at: np.ndarray | None = None  # bool [rows, exits]; None: nowhere
        self._left_out: np.ndarray | None = None  # bool [rows], coins that said no; None: none was tossed

    def note_non_finite(self, rows: slice | np.ndarray, non_finite: np.ndarray) -> None:
        """The input or a member's output is not finite on some of `rows`; bool [those rows]."""
        self.non_finite[rows] |= non_finite
        self._any_non_finite = self._any_non_finite or bool(non_finite.any())

    @property
    def running(self) -> np.ndarray:
        """Rows whose segments still have to run: undecided, or decided and chosen to finish; bool [rows]."""
        return self.open | self.finishes

    def note_votes(
        self, exit_: int, labels: np.ndarray, confidence: np.ndarray, non_finite: np.ndarray | None, moment: int
    ) -> None:
        """Keep what an exit says about the rows that run; arrays over [rows]."""
        running: slice | np.ndarray = slice(None) if self.all_finish else self.running
        self.labels[running, exit_] = labels[running]
        self.confidence[running, exit_] = confidence[running]
        self.order[running, exit_] = moment
        if non_finite is not None:
            self.note_non_finite(running, non_finite[running])
        if self._any_non_finite:
            if self._non_finite_at is None:
                self._non_finite_at = np.zeros(self.labels.shape, dtype=bool)
            self._non_finite_at[running, exit_] = self.non_finite[running]

    def freeze(self, rows: np.ndarray, exit_: int, reason: Reason, risk: np.ndarray | float, moment: int) -> None:
        """Decide `rows` (indices): they leave with the label of this exit, whatever comes later."""
        self.open[rows] = False
        self.open_rows -= len(rows)
        self.exit[rows] = exit_
        self.reason[rows] = reason
        self.risk[rows] = risk
        self.answer[rows] = self.labels[rows, exit_]
        self.decided[rows] = moment

    def untossed_rows(self) -> np.ndarray:
        """Answered rows (indices) that are still awaited and have not been tossed."""
        return np.flatnonzero(self.waits_for_toss & self.finishes)

    def toss(self, rows: np.ndarray, q: np.ndarray | float, finishes: np.ndarray) -> None:
        """Note the coins of `rows` (indices): the probability q with which each finishes, and whether it does."""
        if self._left_out is None:
            self._left_out = np.zeros(self.rows, dtype=bool)
        self.q[rows] = q
        self.finishes[rows] = finishes
        self._left_out[rows] = ~finishes
        self.all_finish = False

    def dismiss(self, rows: np.ndarray, moment: int) -> None:
        """Give up `rows` (indices) that are open: they get no answer, and nothing of them runs on."""
        self.open[rows] = self.finishes[rows] = False
        self.open_rows -= len(rows)
        self.all_finish = False
        self.decided[rows] = moment

    def decisions_of(self, rows: np.ndarray) -> Answered:
        """The decisions of `rows` (indices), for the tuner."""
        reason = self.reason[rows]
        return Answered(
            reason=reason,
            exit=self.exit[rows],
            service_class=self.service_class[rows],
            q=self.q[rows],
            finishes=self.finishes[rows],
            counted=promise_counts(self.never[rows], self.non_finite[rows], reason),
        )

    @property
    def teaches(self) -> np.ndarray:
        """Rows from whose full vote the tuner learns, once it is there; bool [rows]."""
        return self.finishes & (self.exit >= 0) & ~(self.non_finite & (self.reason != EARLY))

    def feedback(self, rows: np.ndarray | slice) -> Feedback:
        """Votes, answers and options of `rows` (indices or slice)."""
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

    def record(self, teaches: np.ndarray) -> DecidedRows:
        """All rows, for records; the batch is over and its arrays change no more. `teaches`: bool [rows]."""
        at = np.zeros(self.labels.shape, dtype=bool) if self._non_finite_at is None else self._non_finite_at
        return DecidedRows(
            rows=self.feedback(slice(None)),
            ticket=np.full(self.rows, self.id, dtype=np.int64),
            decided=self.decided,
            ended=self.ended,
            finishes=np.ones(self.rows, dtype=bool) if self._left_out is None else ~self._left_out,
            non_finite=at,
            risk=self.risk,
            taught=teaches,
            heads_version=np.full(self.rows, self.heads_version, dtype=np.int64),
        )


Toss = Callable[[Batch, np.ndarray, float], tuple[np.ndarray | float, np.ndarray] | None]
"""(batch, rows, requested q) -> (q of the rows, bool [rows]: which finish); None where all finish with q = 1."""


class Coins:
    """When answered rows are tossed, and with which probability (q).

    Args:
        settings: `feedback` and `least_finish_probability` are used here.
        toss: draws which rows finish; see Toss.
        feedback_wanted: gives the share that the tuner's knowledge needs, for `feedback = "auto"`.

    Attributes:
        finish_probability: what the runner's load allows q to be, from now on; 1 = full feedback.
        feedback: see Settings.feedback.
        late: the runner has rows tossed when it is about to run them; else each is tossed when it is answered.
    """

    def __init__(self, settings: Settings, toss: Toss, feedback_wanted: Callable[[], float]) -> None:
        self.finish_probability = 1.0
        self.feedback = settings.feedback
        self.late = False
        self._least = settings.least_finish_probability
        self._toss = toss
        self._feedback_wanted = feedback_wanted

    def probability(self, load_q: float) -> float:
        """Probability (q) of rows that are tossed now: what the load allows, and no more than `feedback` asks for.

        It depends on nothing about the rows, and `feedback` never brings it below `least_finish_probability`.
        """
        if self.feedback == "all":
            return load_q
        share = self._feedback_wanted() if isinstance(self.feedback, str) else self.feedback
        return min(load_q, max(self._least, share))

    def at_answer(self) -> float:
        """Probability (q) that rows answered now have at first; those that are tossed later count 1 until then."""
        return 1.0 if self.late else self.probability(self.finish_probability)

    def answered(self, batch: Batch, rows: np.ndarray) -> None:
        """Rows (indices) were answered before the last exit: toss them now, or note that they will be."""
        if self.late:
            batch.waits_for_toss[rows] = batch.tossed_late = True
        else:
            self.toss(batch, rows, self.probability(self.finish_probability))

    def toss(self, batch: Batch, rows: np.ndarray, q: float) -> bool:
        """Toss rows (indices) with probability q; False where all of them finish."""
        coins = self._toss(batch, rows, q)
        if coins is not None:
            batch.toss(rows, *coins)
        return coins is not None
