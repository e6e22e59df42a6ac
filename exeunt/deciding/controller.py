"""The exit controller: admits requests, decides by what has arrived, releases answers, passes on feedback.

Pure: it knows neither Triton nor onnxruntime, takes time and chance as arguments, and does no I/O. The caller holds one
lock around every call. Life of a request::

    offer -> (waits) -> next_ticket -> arrived, arrived, ... -> Release
                                         |                        the rows run on
                                         `-> the last exit: feedback to the tuner, the ticket ends
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import numpy as np

from exeunt.contract import Reason
from exeunt.deciding import votes
from exeunt.deciding.admission import Admission
from exeunt.deciding.confidence import SCORES
from exeunt.deciding.counters import Counters
from exeunt.deciding.exit_vote import ExitVote, exits_by_pair
from exeunt.deciding.releases import released, too_late
from exeunt.deciding.request import Release, Request
from exeunt.deciding.ticket import Ticket
from exeunt.errors import ExeuntError, OverloadedError
from exeunt.manifest import Manifest
from exeunt.records.feedback import Feedback
from exeunt.tuning.tuner import Tuner, View


class Controller:
    """Decides for every row when its answer leaves.

    Args:
        manifest: the bag; its settings rule.
        tuner: who may leave.
        rng: for the shadow and feedback coins.

    Attributes:
        finish_probability: q of rows answered from now on; 1 = full feedback. The engine lowers it under load.
        exits_off: bool [exits], exits that an operator has switched off.
        on_feedback: called with every batch of Feedback, after the tuner; for records.
        counters: counters since start.
        retuned: when the tuning jobs adopted since the last feedback were taken and adopted, in exits completed before.
    """

    def __init__(self, manifest: Manifest, tuner: Tuner, rng: np.random.Generator) -> None:
        self.manifest = manifest
        self.settings = manifest.settings
        self.tuner = tuner
        self.finish_probability = 1.0
        self.exits_off = np.zeros(len(manifest.exits), dtype=bool)
        self.on_feedback: list[Callable[[Feedback], None]] = []
        self.counters = Counters(len(manifest.exits))
        self.retuned: tuple[tuple[int, int], ...] = ()
        self.tickets: dict[int, Ticket] = {}
        self._rng = rng
        self._admission = Admission(manifest, rng, self.counters)
        self._score = SCORES[self.settings.confidence]
        self._last = len(manifest.exits) - 1
        self._full_votes_fail = False  # the last run failed: an early answer would likely never be confirmed
        self._completed = 0  # exits completed, over all tickets: the order that records keep and replay follows
        self._undecided: set[int] = set()  # tickets with open rows
        self._taken = 0
        self._votes = [ExitVote(manifest, number) for number in range(len(manifest.exits))]
        self._exits_of = exits_by_pair(self._votes)

    @property
    def waiting_rows(self) -> int:
        """Rows that wait for a ticket."""
        return self._admission.waiting.waiting_rows

    @property
    def idle(self) -> bool:
        """True when nobody waits and nothing is in flight."""
        return not self.tickets and not len(self._admission.waiting)

    def active(self) -> np.ndarray:
        """Exits offered now, bool [exits]; the last always."""
        active = self.tuner.active() & ~self.exits_off
        if self._full_votes_fail:
            active[:] = False
        active[self._last] = True
        return active

    def offer(self, request: Request, now_us: int) -> None:
        """Accept a client request; it waits until `next_ticket` takes it.

        Raises:
            RequestError, OverloadedError: see Admission.offer.
        """
        self._admission.offer(request, now_us)

    def next_ticket(self, at_work: int = 0) -> Ticket | None:
        """Admit the oldest waiting requests as one ticket, while fewer than max_tickets are in flight.

        The engine finishes answered tickets in idle time: there only tickets with open rows count.

        Args:
            at_work: tickets that the runner still works on, those included that are over for the controller.
        """
        in_flight = self._undecided if self.manifest.mode == "engine" else self.tickets
        ticket = self._admission.next_ticket(max(len(in_flight), at_work), self.active)
        if ticket is not None:
            self.tickets[ticket.id] = ticket
            self._undecided.add(ticket.id)
        return ticket

    def arrived(
        self,
        ticket_id: int,
        probabilities: Mapping[tuple[int, int], np.ndarray],
        now_us: int,
        rows: np.ndarray | None = None,
    ) -> list[Release]:
        """Members' probabilities have arrived, in any order, perhaps again.

        Args:
            ticket_id: their ticket; one that is over already is ignored.
            probabilities: (member, depth) -> float32 [rows, classes]; kept, so the caller must not change them later.
            now_us: time of arrival.
            rows: indices of the ticket's rows that are given; None = all. Must hold every running row.

        Returns:
            the client requests that are answered by it.
        """
        ticket = self.tickets.get(ticket_id)
        if ticket is None:
            return []
        touched: set[int] = set()
        for (member, depth), each in probabilities.items():
            if (member, depth) not in ticket.probabilities:
                ticket.keep(member, depth, each, rows)
                touched.update(self._exits_of.get((member, depth), ()))
        for exit_ in sorted(touched):
            if ticket.wanted[exit_] and all(pair in ticket.probabilities for pair in self._votes[exit_].pairs):
                self._complete(ticket, exit_)
        return self._released(ticket, now_us) if touched else []

    def failed(self, ticket_id: int, error: ExeuntError, now_us: int, rows: np.ndarray | None = None) -> list[Release]:
        """A ticket's run has failed: its open rows get the error, or the best vote where so configured.

        Until a full vote arrives again nobody leaves early on trust: it would likely never be confirmed.

        Args:
            ticket_id: the ticket; one that is over already is ignored.
            error: what the clients get.
            now_us: time of the failure.
            rows: indices of the rows that failed, all rows of their requests; None = all.
        """
        ticket = self.tickets.get(ticket_id)
        if ticket is None:
            return []
        self._full_votes_fail = True
        failed = np.ones(ticket.rows, dtype=bool)
        if rows is not None:
            failed[:] = False
            failed[rows] = True
        if self.settings.on_failure == "best_vote" and ticket.deepest >= 0:
            self._force(ticket, np.flatnonzero(ticket.open & failed), Reason.DEGRADED)
        self._abandon(ticket, failed)
        failed &= ticket.open
        ticket.dismiss(np.flatnonzero(failed))
        return self._released(ticket, now_us, error, failed)

    def tick(self, now_us: int) -> list[Release]:
        """Release what is past its deadline: the best vote so far, or UNAVAILABLE before any vote."""
        late = [too_late(request, now_us) for request in self._admission.waiting.overdue(now_us)]
        self.counters.errors += len(late)
        for ticket in self._with_deadline():
            late += self._overdue(ticket, now_us)
        return late

    def next_deadline_us(self) -> int | None:
        """The earliest deadline of anybody who still waits for an answer, or None."""
        undecided = chain.from_iterable(ticket.unreleased() for ticket in self._with_deadline())
        waiting = chain(self._admission.waiting.requests(), undecided)
        return min((each.deadline_us for each in waiting if each.deadline_us is not None), default=None)

    def retune(self) -> Callable[[], Any] | None:
        """The tuner's job if one is due, to be run beside serving; its outcome goes to `adopt`."""
        job = self.tuner.retune()
        if job is not None:
            self._taken = self._completed
        return job

    def adopt(self, outcome: Any) -> None:
        """Give a job's outcome to the tuner."""
        self.tuner.adopt(outcome)
        self.retuned += ((self._taken, self._completed),)

    def close(self) -> None:
        """Refuse newcomers from now on."""
        self._admission.close()

    def give_up(self, now_us: int) -> list[Release]:
        """Answer everybody who is left UNAVAILABLE and forget all tickets."""
        error = OverloadedError("the server stopped before the answer was ready; come again")
        left = [Release(each.key, now_us - each.arrived_us, error=error) for each in self._admission.waiting.clear()]
        self.counters.errors += len(left)
        for ticket in list(self.tickets.values()):
            self._end(ticket)
            left += self._released(ticket, now_us, error)
        return left

    def _complete(self, ticket: Ticket, exit_: int) -> None:
        """All votes of an exit are there: note them, decide."""
        parts = self._votes[exit_]
        given = [ticket.probabilities[pair] for pair in parts.pairs]
        vote, non_finite = votes.vote_and_non_finite(given, parts.weights, self.manifest.vote)
        running: slice | np.ndarray = slice(None) if ticket.all_finish else ticket.running
        if non_finite is not None:
            ticket.non_finite[running] |= non_finite[running]
        ticket.labels[running, exit_] = votes.labels(vote)[running]
        ticket.confidence[running, exit_] = self._score(vote)[running]
        ticket.order[running, exit_] = self._completed
        self._completed += 1
        if exit_ == self._last:
            self._finish(ticket, vote)
        elif exit_ > ticket.deepest:  # a shallower vote that was overtaken knows less: it only teaches
            ticket.deepest, ticket.best = exit_, vote
            if ticket.open_rows and self.active()[exit_]:
                self._decide(ticket, exit_, vote)

    def _decide(self, ticket: Ticket, exit_: int, vote: np.ndarray) -> None:
        """Let rows leave at an active exit before the last."""
        open_ = ticket.open & ~ticket.non_finite
        if ticket.has_options:
            open_ &= ~ticket.never
        rows, parts = np.flatnonzero(open_), self._votes[exit_]
        if self.settings.lossless and parts.finished and len(rows):
            finished = [ticket.probabilities[pair][rows] for pair in parts.finished]
            certain = votes.cannot_change(finished, parts.finished_weights, parts.missing, self.manifest.vote)
            self._freeze(ticket, rows[certain], exit_, Reason.LOSSLESS, vote, np.zeros(1, dtype=np.float32))
            rows = rows[~certain]
        if not len(rows):
            return
        view = View(ticket.labels[rows], ticket.confidence[rows], ticket.service_class[rows], self.finish_probability)
        leaves = self.tuner.leaves(exit_, view)
        if not leaves.any():
            return
        risk = self.tuner.risk(exit_, ticket.confidence[rows, exit_], view.labels[:, exit_])
        leaves = leaves & (risk < ticket.max_risk[rows]) if ticket.has_options else leaves
        self._freeze(ticket, rows[leaves], exit_, Reason.EARLY, vote, risk[leaves])

    def _freeze(
        self, ticket: Ticket, rows: np.ndarray, exit_: int, reason: Reason, vote: np.ndarray, risk: np.ndarray
    ) -> None:
        """Decide rows (indices), toss their coins, tell the tuner."""
        if not len(rows):
            return
        ticket.freeze(rows, exit_, reason, vote, risk)
        ticket.tuner_version[rows] = self.tuner.version
        q = self.finish_probability
        if q < 1.0 and exit_ < self._last:
            ticket.q[rows] = q
            ticket.finishes[rows] = self._rng.random(len(rows)) < q
            ticket.all_finish = False
        self.tuner.answered(answered := ticket.answered(rows))
        self.counters.answered(exit_, reason, answered, float(risk.sum()))

    def _finish(self, ticket: Ticket, vote: np.ndarray) -> None:
        """The full vote is there: answer who is left, learn."""
        ticket.deepest, ticket.best = self._last, vote
        self._full_votes_fail = False
        self._freeze(ticket, np.flatnonzero(ticket.open), self._last, Reason.FULL, vote, np.zeros(1, dtype=np.float32))
        del self.tickets[ticket.id]
        teaches = ticket.finishes & (ticket.exit >= 0) & ~(ticket.non_finite & (ticket.reason != Reason.EARLY))
        rows = np.flatnonzero(teaches)
        if not len(rows):
            return
        feedback = ticket.feedback(rows)
        self.counters.finished(feedback)
        self.tuner.learn(feedback)
        for listener in self.on_feedback:
            listener(feedback)
        self.retuned = ()

    def _end(self, ticket: Ticket) -> None:
        """Forget a ticket whose full vote will not come: rows that left early on trust count as lost."""
        del self.tickets[ticket.id]
        self._abandon(ticket, np.ones(ticket.rows, dtype=bool))

    def _abandon(self, ticket: Ticket, chosen: np.ndarray) -> None:
        """The full votes of chosen rows (bool [rows]) will not come: those that left early on trust count as lost."""
        decided = chosen & (ticket.exit >= 0) & ticket.finishes
        rows = np.flatnonzero(decided & (ticket.reason == Reason.EARLY))
        if len(rows):
            self.counters.abandoned_rows += len(rows)
            self.tuner.abandoned(ticket.answered(rows))
        ticket.finishes[decided] = False
        ticket.all_finish = False

    def _force(self, ticket: Ticket, rows: np.ndarray, reason: Reason) -> None:
        """Answer rows (indices) with the best vote so far, outside the promise."""
        risk = self.tuner.risk(ticket.deepest, ticket.confidence[rows, ticket.deepest])
        self._freeze(ticket, rows, ticket.deepest, reason, ticket.best, risk)

    def _with_deadline(self) -> list[Ticket]:
        return [each for each in self.tickets.values() if each.has_deadline]

    def _overdue(self, ticket: Ticket, now_us: int) -> list[Release]:
        late: list[Release] = []
        for number, request in enumerate(ticket.requests):
            due = request.deadline_us
            if ticket.released[number] or due is None or due > now_us:
                continue
            rows = request.first_row + np.flatnonzero(ticket.open[request.first_row :][: request.rows])
            if ticket.deepest >= 0:
                self._force(ticket, rows, Reason.DEADLINE)
            else:
                ticket.dismiss(rows)
                ticket.released[number] = True
                self.counters.errors += 1
                late.append(too_late(request, now_us))
        return late + self._released(ticket, now_us)

    def _released(
        self, ticket: Ticket, now_us: int, error: ExeuntError | None = None, failed: np.ndarray | None = None
    ) -> list[Release]:
        """Requests that are now decided; with `error` also those that never will be (`failed` rows; None = open)."""
        if not ticket.all_finish and ticket.id in self.tickets and not ticket.running.any():
            self._end(ticket)
        if ticket.id not in self._undecided:
            return []
        due = released(ticket, self.counters, now_us, error, failed)
        if all(ticket.released):
            self._undecided.discard(ticket.id)
        return due
