"""The decision core: who leaves where, what that costs the promise, and what is learnt.

Whether a vote is trusted, the tuner says.

The live controller drives it with votes as they arrive, the replay with recorded ones; events.py says what is numbered.
Pure: chance is an argument, there is no clock, the caller holds one lock around every call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from exeunt.contract import Reason
from exeunt.deciding.batch import Batch, Coins, Toss
from exeunt.deciding.counters import Counters
from exeunt.deciding.events import Changes, Events
from exeunt.deciding.heads import HeadsInUse
from exeunt.deciding.votes import ExitVotes
from exeunt.records.decided import DecidedRows, Event
from exeunt.records.feedback import Feedback
from exeunt.settings import Settings
from exeunt.tuning.tuner import Tuner, View

NOBODY = np.zeros(0, dtype=np.intp)
NO_RISK = np.zeros(1, dtype=np.float32)
Listener = Callable[[DecidedRows, list[Event]], None]


class Decisions:
    """Decides for every row when its answer leaves, and keeps the accounts.

    Args:
        settings: `lossless` and `on_failure` are used here.
        exits: number of exits, the full ensemble included.
        tuner: who may leave.
        toss: the coins that say which answered rows finish.

    Attributes:
        coins: say which answered rows finish.
        exits_off: bool [exits], exits that an operator has switched off.
        sure: bool [exits], exits at which a label may be certain.
        in_use: the ramps' heads.
        changes: change how is decided from now on.
        counters: counters since start.
        on_feedback: called with every batch of Feedback, after the tuner.
        on_over: called with the rows of every batch that is over, and with the events since the call before.
    """

    def __init__(self, settings: Settings, exits: int, tuner: Tuner, toss: Toss) -> None:
        self.settings = settings
        self.tuner = tuner
        self.coins = Coins(settings, toss, lambda: self.tuner.feedback_wanted())
        self.exits_off = np.zeros(exits, dtype=bool)
        self.sure = np.zeros(exits, dtype=bool)
        self.in_use = HeadsInUse(exits)
        self.changes = Changes(self)
        self.counters = Counters(exits, len(settings.classes_of_service))
        self.on_feedback: list[Callable[[Feedback], None]] = []
        self.on_over: list[Listener] = []
        self._last = exits - 1
        self._full_votes_fail = False  # the last run failed: an early answer would likely never be confirmed
        self._moments = 0
        self._events = Events()

    def active(self) -> np.ndarray:
        """Exits offered now, bool [exits]; the last always.

        While full votes fail nobody leaves early, and earlier votes are asked for only where on_failure = "best_vote"
        may need them. While nobody may leave on trust, those in `sure` are offered.
        """
        active = self.tuner.active()
        if self.settings.lossless and not self.tuner.trusts():
            active |= self.sure
        active &= ~self.exits_off
        if self._full_votes_fail and not self.settings.falls_back:
            active[:] = False
        active[self._last] = True
        return active

    def complete(self, batch: Batch, exit_: int, votes: ExitVotes) -> np.ndarray:
        """All votes of an exit are there: note them, decide, and at the last exit learn.

        Args:
            batch: its rows.
            exit_: number of the exit; each is complete once.
            votes: what it says.

        Returns:
            rows (indices) that were decided by it, with the vote of this exit.
        """
        moment = self.next_moment()
        batch.note_votes(exit_, votes.labels, votes.confidence, votes.non_finite, moment)
        if exit_ == self._last:
            return self._finish(batch, moment)
        if exit_ <= batch.deepest:  # a shallower vote that was overtaken knows less: it only teaches
            return NOBODY
        batch.deepest = exit_
        closed = self.exits_off[exit_] or batch.heads_version < self.in_use.since[exit_]
        if not batch.open_rows or self._full_votes_fail or closed:
            return NOBODY
        decided = self._leave(batch, exit_, votes, moment)
        self._end_if_idle(batch, moment)
        return decided

    def expire(self, batch: Batch, rows: np.ndarray) -> np.ndarray:
        """A deadline passed: open rows among `rows` (indices) leave with the best vote so far, outside the promise.

        Returns:
            the rows (indices) that leave with the vote of the deepest exit; before any vote none: they are given up.
        """
        rows = rows[batch.open[rows]]
        if not len(rows):
            return NOBODY
        moment = self.next_moment("expired", [batch.id, rows])
        if batch.deepest >= 0:
            forced = self._force(batch, rows, Reason.DEADLINE, moment)
        else:
            forced = NOBODY
            batch.dismiss(rows, moment)
        self._end_if_idle(batch, moment)
        return forced

    def fail(self, batch: Batch, rows: np.ndarray) -> np.ndarray:
        """The full votes of `rows` (indices) will not come: early ones are lost, open ones get no answer.

        With on_failure "best_vote" open ones leave with the best vote, where there is one. Until a full vote arrives
        again nobody leaves early on trust: it would likely never be confirmed.

        Returns:
            the rows (indices) that leave with the vote of the deepest exit.
        """
        moment = self.next_moment("failed", [batch.id, rows])
        self._full_votes_fail = True
        forced = NOBODY
        if self.settings.falls_back and batch.deepest >= 0:
            forced = self._force(batch, rows[batch.open[rows]], Reason.DEGRADED, moment)
        self._abandon(batch, rows, moment)
        batch.dismiss(rows[batch.open[rows]], moment)
        self._end_if_idle(batch, moment)
        return forced

    def toss_answered(self, batch: Batch, load_q: float) -> np.ndarray:
        """Toss every answered row of a batch that has not been tossed, each with a fresh coin of its own.

        To be called when the rows are about to run on; until then they count 1 as unconfirmed, then 1 / q if chosen.

        Args:
            batch: its rows.
            load_q: probability that the runner's load allows; it must not depend on the rows.

        Returns:
            rows (indices) that are not chosen: nothing of them needs to run on.
        """
        rows = batch.untossed_rows()
        if not len(rows):
            return NOBODY
        q = self.coins.probability(load_q)
        moment = self.next_moment("tossed", [batch.id, q])
        batch.waits_for_toss[rows] = False
        if not self.coins.toss(batch, rows, q):
            return NOBODY
        answered = batch.decisions_of(rows)
        self.tuner.tossed(answered)
        self.counters.tossed(answered)
        self._end_if_idle(batch, moment)
        return rows[~batch.finishes[rows]]

    def give_up(self, batch: Batch) -> None:
        """Nothing of a batch will come any more, and its clients are told so."""
        moment = self.next_moment("given_up", [batch.id])
        self._abandon(batch, np.arange(batch.rows), moment)
        batch.dismiss(np.flatnonzero(batch.open), moment)
        self._end_if_idle(batch, moment)

    def next_moment(self, event: str | None = None, value: Any = None) -> int:
        """The number of what happens now; an `event` (events.py) is kept for the records, with its value."""
        moment = self._moments
        self._moments += 1
        if event is not None and self.on_over:
            self._events.note(moment, event, value)
        return moment

    def _leave(self, batch: Batch, exit_: int, votes: ExitVotes, moment: int) -> np.ndarray:
        """Let rows leave at an exit before the last, on trust only where it is active; the rows (indices)."""
        open_ = batch.open & ~batch.non_finite
        if batch.has_options:
            open_ &= ~batch.never
        rows, certain_rows = open_.nonzero()[0], NOBODY
        if self.settings.lossless and votes.certain is not None and len(rows):
            certain = votes.certain(rows)
            if certain.any():
                certain_rows, rows = rows[certain], rows[~certain]
                self._decide(batch, certain_rows, exit_, Reason.LOSSLESS, NO_RISK, moment)
        if not len(rows) or not self.tuner.active()[exit_]:
            return certain_rows
        view = View(batch.labels[rows], batch.confidence[rows], batch.service_class[rows], self.coins.at_answer())
        leaves = self.tuner.leaves(exit_, view)
        if not leaves.any():
            return certain_rows
        risk = self.tuner.risk(exit_, view.confidence[:, exit_], view.labels[:, exit_])
        if batch.has_options:
            leaves = leaves & (risk < batch.max_risk[rows])
        early_rows = rows[leaves]
        self._decide(batch, early_rows, exit_, Reason.EARLY, risk[leaves], moment)
        return np.concatenate([certain_rows, early_rows]) if len(certain_rows) else early_rows

    def _force(self, batch: Batch, rows: np.ndarray, reason: Reason, moment: int) -> np.ndarray:
        """Answer rows (indices) with the best vote so far, outside the promise."""
        exit_ = batch.deepest
        risk = self.tuner.risk(exit_, batch.confidence[rows, exit_])
        self._decide(batch, rows, exit_, reason, risk, moment)
        return rows

    def _decide(
        self, batch: Batch, rows: np.ndarray, exit_: int, reason: Reason, risk: np.ndarray, moment: int
    ) -> None:
        """Decide rows (indices), toss their coins, tell the tuner, count them."""
        if not len(rows):
            return
        batch.freeze(rows, exit_, reason, risk, moment)
        batch.tuner_version[rows] = self.tuner.version
        if exit_ < self._last:
            self.coins.answered(batch, rows)
        answered = batch.decisions_of(rows)
        self.tuner.answered(answered)
        self.counters.answered(exit_, reason, answered, float(risk.sum()), self.tuner.class_losses)

    def _finish(self, batch: Batch, moment: int) -> np.ndarray:
        """The full vote has come: answer all rows that are still open, and learn; those rows (indices)."""
        batch.deepest = self._last
        self._full_votes_fail = False
        open_rows = batch.open.nonzero()[0]
        self._decide(batch, open_rows, self._last, Reason.FULL, NO_RISK, moment)
        teaches = batch.teaches
        rows = teaches.nonzero()[0]
        if len(rows):
            feedback = batch.feedback(rows if len(rows) < batch.rows else slice(None))
            self.counters.finished(feedback)
            if batch.heads_version != self.in_use.heads.version:
                feedback = self.in_use.without_outdated(feedback, batch.heads_version)
            self.tuner.learn(feedback)
            for listener in self.on_feedback:
                listener(feedback)
        self._over(batch, teaches, moment)
        return open_rows

    def _abandon(self, batch: Batch, rows: np.ndarray, moment: int) -> None:
        """The full votes of rows (indices) will not come: those that left early on trust count as lost."""
        awaited = rows[(batch.exit[rows] >= 0) & batch.finishes[rows]]
        early = awaited[batch.reason[awaited] == Reason.EARLY]
        if len(early):
            abandoned = batch.decisions_of(early)
            self.tuner.abandoned(abandoned)
            self.counters.abandoned(abandoned)
        batch.finishes[awaited] = batch.all_finish = False
        batch.ended[awaited] = moment

    def _end_if_idle(self, batch: Batch, moment: int) -> None:
        """A batch none of whose rows runs on is over, without feedback."""
        if not (batch.over or batch.all_finish or batch.running.any()):
            self._over(batch, np.zeros(batch.rows, dtype=bool), moment)

    def _over(self, batch: Batch, teaches: np.ndarray, moment: int) -> None:
        batch.over = True
        if self.on_over:
            batch.ended[batch.ended < 0] = moment
            decided, events = batch.record(teaches), self._events.take()
            for listener in self.on_over:
                listener(decided, events)
