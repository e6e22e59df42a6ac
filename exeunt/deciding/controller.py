"""The exit controller: admits requests, votes, has rows decided (decisions.py), releases answers.

Pure: it knows neither Triton nor onnxruntime, takes time and chance as arguments, and does no I/O. The caller holds one
lock around every call. Life of a request::

    offer -> (waits) -> next_ticket -> arrived, arrived, ... -> Release
                                         |                        the rows run on
                                         `-> the last exit: feedback to the tuner, the ticket ends
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import numpy as np

from exeunt.deciding import votes
from exeunt.deciding.admission import Admission
from exeunt.deciding.batch import Batch
from exeunt.deciding.decisions import Decisions
from exeunt.deciding.request import Release, Request
from exeunt.deciding.ticket import Ticket, deadline_release, error_release, max_wait_release
from exeunt.errors import ExeuntError, OverloadedError
from exeunt.manifest import Manifest
from exeunt.tuning.tuner import Tuner


class Controller:
    """Requests in, releases out.

    Args:
        manifest: the bag; its settings rule.
        tuner: who may leave.
        rng: for the shadow and feedback coins.

    Attributes:
        decisions: the decision core; `decisions.changes` change it.
        counters: counters since start.
        tickets: those that are not over, by id.
        admission: the requests that wait, and which exits their tickets ask for.
    """

    def __init__(self, manifest: Manifest, tuner: Tuner, rng: np.random.Generator) -> None:
        self.manifest = manifest
        self.settings = manifest.settings
        self.decisions = Decisions(self.settings, len(manifest.exits), tuner, self._toss)
        self.counters = self.decisions.counters
        self.tickets: dict[int, Ticket] = {}
        self._rng = rng
        self.admission = Admission(manifest, self.counters, rng, lambda: self.decisions.coins.feedback != "all")
        self._next_ticket_id = 1
        self._classes = manifest.classes
        self._unanswered: set[int] = set()  # tickets with requests that have not been released
        self._score = votes.SCORES[self.settings.confidence]
        self._voters = [votes.ExitVoters(manifest, number) for number in range(len(manifest.exits))]
        self._exits_of = votes.exits_by_pair(self._voters)
        self.decisions.sure = np.array([voters.may_be_certain for voters in self._voters])

    @property
    def tuner(self) -> Tuner:
        """Who says which rows may leave; set only before the first request."""
        return self.decisions.tuner

    @tuner.setter
    def tuner(self, tuner: Tuner) -> None:
        self.decisions.tuner = tuner

    @property
    def waiting_rows(self) -> int:
        """Rows that wait for a ticket."""
        return self.admission.queue.waiting_rows

    @property
    def idle(self) -> bool:
        """True when nobody waits and nothing is in flight."""
        return not self.tickets and not len(self.admission.queue)

    def active(self) -> np.ndarray:
        """Exits offered now, bool [exits]; the last always."""
        return self.decisions.active()

    def offer(self, request: Request, now_us: int) -> None:
        """Accept a client request; it waits until `next_ticket` takes it.

        Raises:
            RequestError: see RequestQueue.offer.
            OverloadedError: full, or stopping.
        """
        try:
            self.admission.queue.offer(request, now_us)
        except OverloadedError:
            self.counters.refused += 1
            raise

    def next_ticket(self, at_work: int = 0, now_us: int = 0) -> Ticket | None:
        """Admit the waiting requests whose turn it is as one ticket, while fewer than max_tickets are in flight.

        Runners finish answered tickets in idle time: they take a place only while the runner works on them.

        Args:
            at_work: tickets that the runner works on now, those included that are over for the controller.
            now_us: time of the admission.
        """
        admitted = self.admission.next(max(len(self._unanswered), at_work), self.active, now_us)
        if admitted is None:
            return None
        ticket = Ticket(self._next_ticket_id, admitted, self._classes, now_us, self.decisions.in_use.heads)
        self._next_ticket_id += 1
        self.counters.tickets += 1
        self.tickets[ticket.id] = ticket
        self._unanswered.add(ticket.id)
        return ticket

    def arrived(
        self,
        ticket_id: int,
        probabilities: Mapping[tuple[int, int], np.ndarray],
        now_us: int,
        rows: np.ndarray | None = None,
    ) -> list[Release]:
        """Members' probabilities have arrived, in any order, perhaps again; the first that come count.

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
        for (member, depth), array in probabilities.items():
            if (member, depth) not in ticket.probabilities:
                ticket.keep(member, depth, array, rows)
                touched.update(self._exits_of.get((member, depth), ()))
        for exit_ in sorted(touched):
            if ticket.requested_exits[exit_] and all(
                pair in ticket.probabilities for pair in self._voters[exit_].pairs
            ):
                self._complete(ticket, exit_)
            if ticket.over:
                break
        return self._released(ticket, now_us) if touched else []

    def failed(self, ticket_id: int, error: ExeuntError, now_us: int, rows: np.ndarray | None = None) -> list[Release]:
        """A ticket's run has failed: its open rows get the error, or the best vote where so configured.

        Args:
            ticket_id: the ticket; one that is over already is ignored.
            error: what the clients get.
            now_us: time of the failure.
            rows: indices of the rows that failed, all rows of their requests; None = all.
        """
        ticket = self.tickets.get(ticket_id)
        if ticket is None:
            return []
        forced = self.decisions.fail(ticket, np.arange(ticket.rows) if rows is None else rows)
        ticket.answer_with(ticket.best, forced)
        return self._released(ticket, now_us, error)

    def toss_answered(self, ticket_id: int, load_q: float) -> np.ndarray:
        """Toss the answered rows of a ticket that are about to run on; see Decisions.toss_answered.

        Args:
            ticket_id: the ticket; of one that is over already nothing has to run.
            load_q: probability that the runner's load allows, above 0; it must not depend on the rows.

        Returns:
            rows (indices) that need not run on.
        """
        ticket = self.tickets.get(ticket_id)
        if ticket is None:
            return np.zeros(0, dtype=np.intp)
        left_out = self.decisions.toss_answered(ticket, load_q)
        self._released(ticket, 0)  # forgets it where nothing runs on; nobody waits for rows that are answered
        return left_out

    def tick(self, now_us: int) -> list[Release]:
        """Release what is past its deadline: the best vote so far, or UNAVAILABLE before any vote.

        What has waited so long that its caller is hardly there any more is UNAVAILABLE, too.
        """
        late = [deadline_release(request, now_us) for request in self.admission.queue.overdue(now_us)]
        late += [max_wait_release(request, now_us) for request in self.admission.queue.given_up(now_us)]
        self.counters.errors += len(late)
        for ticket in self._with_deadline():
            for request in ticket.unreleased():
                if request.deadline_us is not None and request.deadline_us <= now_us:
                    ticket.answer_with(ticket.best, self.decisions.expire(ticket, request.row_indices))
            late += self._released(ticket, now_us)
        return late

    def next_deadline_us(self) -> int | None:
        """The earliest deadline of anybody who still waits for an answer, or None."""
        unanswered = chain.from_iterable(ticket.unreleased() for ticket in self._with_deadline())
        due = [request.deadline_us for request in unanswered if request.deadline_us is not None]
        waiting_us = self.admission.queue.next_deadline_us()
        return min(due if waiting_us is None else [*due, waiting_us], default=None)

    def close(self) -> None:
        """Refuse newcomers from now on."""
        self.admission.queue.close()

    def give_up(self, now_us: int) -> list[Release]:
        """Answer everybody who is left UNAVAILABLE and forget all tickets."""
        error = OverloadedError("the server stopped before the answer was ready; come again")
        releases = [error_release(request, error, now_us) for request in self.admission.queue.clear()]
        self.counters.errors += len(releases)
        for ticket in list(self.tickets.values()):
            self.decisions.give_up(ticket)
            releases += self._released(ticket, now_us, error)
        return releases

    def _toss(self, batch: Batch, rows: np.ndarray, q: float) -> tuple[float, np.ndarray] | None:
        """Which of the answered rows (indices) are finished, each with probability q."""
        return None if q >= 1.0 else (q, self._rng.random(len(rows)) < q)

    def _complete(self, ticket: Ticket, exit_: int) -> None:
        """All votes of an exit are there."""
        voters = self._voters[exit_]
        arrays = [ticket.probabilities[pair] for pair in voters.pairs]
        vote, non_finite = votes.vote_and_non_finite(arrays, voters.weights, self.manifest.vote)

        def certain(rows: np.ndarray) -> np.ndarray:
            finished = [ticket.probabilities[pair][rows] for pair in voters.finished]
            return votes.cannot_change(finished, voters.finished_weights, voters.missing, self.manifest.vote)

        exit_votes = votes.ExitVotes(
            votes.labels(vote), self._score(vote), non_finite, certain if voters.finished else None
        )
        decided = self.decisions.complete(ticket, exit_, exit_votes)
        if ticket.deepest == exit_:
            ticket.best = vote
        ticket.answer_with(vote, decided)

    def _with_deadline(self) -> list[Ticket]:
        return [ticket for ticket in self.tickets.values() if ticket.has_deadline]

    def _released(self, ticket: Ticket, now_us: int, error: ExeuntError | None = None) -> list[Release]:
        """Requests of a ticket that are over now."""
        if ticket.over:
            self.tickets.pop(ticket.id, None)
        if not ticket.unreleased_requests:
            return []
        due = ticket.releases(now_us, error)
        for release in due:
            if release.answer is None:
                self.counters.errors += 1
            elif release.last:
                self.counters.released(release.latency_us, int(release.answer.exit.max()))
                if ticket.gear is not None and error is None:
                    in_flight_us = now_us - ticket.admitted_us
                    self.admission.gears.note_latency(
                        ticket.gear, len(release.answer.exit), release.latency_us, in_flight_us
                    )
        if not ticket.unreleased_requests:
            self._unanswered.discard(ticket.id)
        return due
