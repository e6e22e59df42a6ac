"""Ensemble mode: a ticket's members run by calls of NAME_bag, one per stage, by Triton's own ensemble scheduling."""

import threading
from concurrent.futures import wait
from functools import partial

import numpy as np
import triton_python_backend_utils as pb_utils

from exeunt.bag_stages import BagStages
from exeunt.contract import EARLY, bag_model
from exeunt.engine.sampling import FinishProbability
from exeunt.errors import ServingError
from exeunt.hosting.calls.call_inputs import CallInputs, places_that_run
from exeunt.hosting.calls.call_watch import CallWatch, patience_us
from exeunt.hosting.calls.stage_queue import StageQueue, TicketWork
from exeunt.hosting.calls.tap_outputs import TapOutputs
from exeunt_backends.exit_controller.bls import execute
from exeunt_backends.exit_controller.triton_version import triton_is_at_least

URGENT_SHARE = 0.75  # of max_unconfirmed_rows: from here on feedback runs beside urgent calls
CAREFUL_US = 5_000_000  # after a failed call
LOOK_EVERY_S = 1.0  # for calls that Triton has lost
END_S = 5.0  # at the end, for calls under way
WAITS_FOR_SIBLINGS = (26, 2)  # from this Triton on, a step that fails ends its ensemble when all steps have ended


class LostCallError(Exception):
    """A call has returned after it was taken for lost: nobody waits for its outputs any more."""


class BagRunner:
    """Runs tickets stage by stage; each call asks only for the taps of its stage and takes only the rows that are left.

    A call that fails is made again, request by request: so that one bad request fails nobody else, and so that answers
    which left early are still confirmed. A call that Triton never answers is lost: its tickets run once more.
    """

    def __init__(self, manifest, calls, heads, guard, end):
        settings = manifest.settings
        self._model = bag_model(manifest.bag)
        self._stages = BagStages(manifest)
        self._inputs = CallInputs(self._stages)
        self._calls, self._guard, self._heads = calls, guard, heads  # without heads NAME_bag has them
        self._tap_outputs = TapOutputs(manifest)
        self._execute = partial(execute, end=end)
        self._queue = StageQueue(manifest.max_batch_size, URGENT_SHARE * settings.max_unconfirmed_rows)
        self._sampling = FinishProbability.of(settings)
        largest_us = self._stages.full_work_us * manifest.max_batch_size
        self._watch = CallWatch(patience_us(settings.bag_call_s, settings.max_tickets, largest_us))
        self._at_work = {}  # thread -> the StageCall it makes
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._falls_back = settings.falls_back
        self._may_answer_twice = not triton_is_at_least(*WAITS_FOR_SIBLINGS)
        self._careful_until_us = 0
        self._work_us = self._full_work_us = 0.0
        # each call blocks one thread of ours and one of Triton's pool until its last tap
        self._threads = [self._new_thread() for _ in range(settings.max_tickets)]
        self._watcher = threading.Thread(target=self._look_for_lost_calls, name="exeunt-bag-watch", daemon=True)

    @property
    def at_work(self):
        """See exeunt.hosting.host.Runner: feedback that waits takes nobody's place."""
        return self._queue.places

    workers = 1  # bags in ensemble mode have no lean gear
    plain_tickets = None  # see exeunt.hosting.host.Runner

    def attach(self, host):
        """See exeunt.hosting.host.Runner."""
        self._host = host
        if len(self._stages.ends) > 1:
            host.use_late_tossing()
        for thread in (*self._threads, self._watcher):
            thread.start()

    def learn_from(self, ramps, take):
        """See exeunt.hosting.ramp_learning.LearningRunner."""
        self._tap_outputs.learn_from(ramps, take)

    def start(self, ticket, inputs):
        """See exeunt.hosting.host.Runner."""
        work = TicketWork(ticket, inputs, self._calls_of(ticket))
        with self._changed:
            self._full_work_us += self._stages.full_work_us * ticket.rows
            self._add(work)

    run_at_once = start  # Triton runs the members, always

    def _calls_of(self, ticket):
        """The calls of a ticket; soon after a failed step such that no tap is under way when one fails again.

        Triton before 26.02 may answer such a call twice, and end.
        """
        if not self._may_answer_twice or self._host.now_us() >= self._careful_until_us:
            return self._stages.calls(ticket.requested_exits, ticket.staged)
        if self._falls_back or ticket.has_deadline:  # any vote helps
            return self._stages.one_by_one(ticket.requested_exits)
        return [self._stages.full_call()]

    def close(self):
        """See exeunt.hosting.host.Runner. A call that Triton has lost holds nobody up for longer than END_S."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
        ends_us = self._host.now_us() + int(END_S * 1e6)
        for thread in filter(threading.Thread.is_alive, (*self._threads, self._watcher)):
            thread.join(max(0.0, (ends_us - self._host.now_us()) / 1e6))

    def metrics(self):
        """Numbers for operators; Triton's own statistics cover the segments."""
        with self._changed:
            return {
                "calls": float(self._queue.urgent_running + self._queue.feedback_running),
                "feedback_tickets": float(self._queue.feedback_tickets),
                "backlog_rows": self._queue.backlog,
                "finish_probability": self._sampling.q,
                "work_us_total": self._work_us,
                "full_work_us_total": self._full_work_us,
                "failed_steps_total": float(self._calls.failed_steps),
                "refused_taps_total": float(self._calls.refused),
                "lost_calls_total": float(self._watch.lost),
            }

    def _add(self, work):
        self._queue.add(work)
        self._changed.notify()

    def _serve(self):
        """A thread's life: nothing that goes wrong in it may end it, for tickets would wait for ever."""
        while (call := self._next()) is not None:
            try:
                self._make(call)
            except LostCallError:
                return  # another thread has taken over
            except Exception as error:  # an edge: the clients must hear of it
                self._guard.survived("call of the bag", error)
                for work in call.works:
                    self._host.failed(work.ticket.id, ServingError(f"{self._model}: {error!r}"))
            with self._changed:
                del self._at_work[threading.current_thread()]
                self._ended(call)
            self._host.work_ended()

    def _ended(self, call):
        self._queue.ended(call)
        self._sampling.update(self._queue.backlog, self._host.now_us())

    def _next(self):
        """Wait for the next call; None when the runner closes."""
        with self._changed:
            while not self._closing.is_set():
                call = self._queue.next()
                if call is not None:
                    self._at_work[threading.current_thread()] = call
                    if self._queue.urgent_waits:
                        self._changed.notify()
                    return call
                self._changed.wait()
        return None

    def _make(self, call):
        """All that a call needs; what is left of its tickets goes back into the queue."""
        parts = [(work, rows) for work in call.works if len(rows := self._rows_of(work))]
        if call.feedback and len(parts) > 1:
            self._call_for_feedback(parts, call.planned)
        else:
            for work, rows in parts:
                self._call_for_ticket(work, rows, call.planned)
        for work, _ in parts:
            if work.calls and self._host.awaited(work.ticket.id):
                with self._changed:
                    self._add(work)

    def _rows_of(self, work):
        """Rows (indices) of a ticket that run now; answered ones are tossed before."""
        if not self._host.awaited(work.ticket.id):
            return np.zeros(0, dtype=np.intp)
        if work.begun:
            self._host.toss_answered(work.ticket.id, self._sampling.q)
        work.begun = True
        return np.flatnonzero(work.ticket.running)

    def _call_for_ticket(self, work, rows, planned):
        """One ticket's call; its votes go to the host as they come."""
        ticket = work.ticket
        inputs, some = self._inputs.of(work, rows, planned), None if len(rows) == ticket.rows else rows
        call, problem = self._call(len(rows), inputs, planned, ticket, some)
        is_complete = not call.expected
        if is_complete:
            self._tap_outputs.add(work, call.brought, rows)
            lacks = self._inputs.keep(work, rows, planned, call)
            is_complete, problem = lacks is None, problem or lacks
        if is_complete or not self._host.awaited(ticket.id):
            if self._sampling.q < 1.0:  # under load what will not run is let go of at once
                self._host.toss_answered(ticket.id, self._sampling.q)
            return
        work.calls.clear()
        problem = problem or "it ended before its last tap"
        early = ticket.finishes & ~ticket.open & (ticket.reason == EARLY)
        if len(ticket.requests) > 1 or early.any():
            self._retry_by_request(work, problem)
        else:
            self._host.failed(ticket.id, ServingError(f"{self._model}: {problem}"))

    def _call_for_feedback(self, parts, planned):
        """Feedback of several tickets in one call."""
        counts = [len(rows) for _, rows in parts]
        call, _ = self._call(sum(counts), self._inputs.joined(parts, planned), planned)
        if call.expected:  # find out whose rows are bad
            for work, rows in parts:
                self._call_for_ticket(work, rows, planned)
            return
        ends = np.cumsum(counts)
        for (work, rows), end in zip(parts, ends, strict=True):
            brought = {pair: array[end - len(rows) : end] for pair, array in call.brought.items()}
            votes = brought if self._heads is None else self._heads.votes(work.ticket, brought)
            self._host.arrived(work.ticket.id, votes, rows)
            self._tap_outputs.add(work, brought, rows)

    def _retry_by_request(self, work, problem):
        """Full votes, request by request; only rows whose own call fails are failed."""
        ticket, inputs = work.ticket, work.inputs
        brought: dict = {}
        good, bad = [], []
        for request in ticket.requests:
            rows = request.row_indices
            if not ticket.running[rows].any():
                continue
            request_inputs = {name: array[rows] for name, array in inputs.items()}
            call, request_problem = self._call(request.rows, request_inputs, self._stages.full_call())
            if call.expected:
                problem = request_problem or problem
                bad.append(rows)
                continue
            good.append(rows)
            for pair, array in call.brought.items():
                brought.setdefault(pair, []).append(array)
        if bad:
            self._host.failed(ticket.id, ServingError(f"{self._model}: {problem}"), np.concatenate(bad))
        if good:
            joined, rows = {pair: np.concatenate(parts) for pair, parts in brought.items()}, np.concatenate(good)
            full = joined if self._heads is None else self._heads.full_vote(joined)
            self._host.arrived(ticket.id, full, rows)
            self._tap_outputs.add(work, joined, rows)

    def _call(self, rows, inputs, planned, ticket=None, ticket_rows=None):
        """Make a call; without a ticket its votes are not passed on. The call, and what Triton said went wrong."""
        secret, thread = self._calls.open(rows, planned.pairs, ticket, ticket_rows), threading.current_thread()
        with self._changed:
            self._work_us += self._stages.work_us(planned) * rows
            self._watch.begin(thread, secret, self._host.now_us())
        # heads may have yet to say who leaves
        still_run = partial(np.arange, rows) if self._heads else partial(places_that_run, ticket, ticket_rows)
        model, cuts = self._stages.model(planned.start, planned.end), self._inputs.cut_names(planned)
        address = self._calls.address(secret) if self._may_answer_twice else None
        try:
            taps = planned.tap_names
            problem, *cut = self._execute(model, secret, rows, inputs, taps, cuts, still_run, address=address)
            if problem:
                self._careful_until_us = self._host.now_us() + CAREFUL_US
        finally:
            with self._changed:
                is_ours = self._watch.end(thread)
            call = self._calls.close(secret) if is_ours else None
        if call is None:
            raise LostCallError
        call.cut_rows, call.cuts = cut
        wait(call.passing)  # the next stage takes only rows that are left
        return call, call.failure or problem

    def _new_thread(self):
        return threading.Thread(target=self._serve, name="exeunt-bag", daemon=True)

    def _look_for_lost_calls(self):
        while not self._closing.wait(LOOK_EVERY_S):
            with self._changed:
                lost = self._watch.take_lost(self._host.now_us())
            for thread, secret in lost:
                self._guard.run("lost call", partial(self._give_up, thread, secret))

    def _give_up(self, thread, secret):
        """Put another thread in the place of one that waits in vain, and run its tickets once more."""
        self._calls.close(secret)
        with self._changed:
            call = self._at_work.pop(thread)
            self._ended(call)
            self._threads.remove(thread)
            self._threads.append(self._new_thread())
            self._threads[-1].start()
        self._careful_until_us = self._host.now_us() + CAREFUL_US
        within = f"within {self._watch.patience_us / 1e6:g} s"
        pb_utils.Logger.log_error(f"{self._model}: Triton has not answered a call {within}: given up")
        for work in call.works:
            if work.lost:
                self._host.failed(work.ticket.id, ServingError(f"{self._model}: not answered {within}, twice"))
            elif self._host.awaited(work.ticket.id):
                work.lost, work.cuts, work.calls = True, None, [self._stages.full_call()]
                with self._changed:
                    self._add(work)
        self._host.work_ended()
