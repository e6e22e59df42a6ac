"""The host: one controller, one runner, one lock.

Requests come in from any thread, votes come back from any thread, releases go out at once from the thread that caused
them, outside the lock. Tuning runs in a thread of its own, on copies, so it never delays a release.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from exeunt.deciding.controller import Controller
from exeunt.deciding.gears import PlainTickets
from exeunt.deciding.request import Release, Request
from exeunt.deciding.ticket import Ticket
from exeunt.errors import ExeuntError, ServingError
from exeunt.hosting.guard import Guard

Inputs = dict[str, np.ndarray]  # public input -> [rows, ...]

_IDLE_TICK_S = 0.05
GIL_SWITCH_S = 0.0005  # a release must not wait 5 ms for a tuner's Python loop


class Runner(Protocol):
    """What runs the members of a ticket: Triton's ensemble scheduling, or the engine."""

    @property
    def at_work(self) -> int:
        """Tickets whose work has not ended, those included that are over for the controller."""

    @property
    def plain_tickets(self) -> PlainTickets | None:
        """How it wants tickets that ask for the full vote only; None = like all others."""

    @property
    def workers(self) -> int:
        """Runs at a time."""

    def attach(self, host: ControllerHost) -> None:
        """Learn where votes and failures go; called once, before `start`."""

    def start(self, ticket: Ticket, inputs: Inputs) -> None:
        """Run a ticket's members; must not block. Votes go to `host.arrived`, failures to `host.failed`."""

    def run_at_once(self, ticket: Ticket, inputs: Inputs) -> None:
        """As `start`, but a short plain ticket may run in the calling thread; only where there are `plain_tickets`."""

    def close(self) -> None:
        """Stop; waits for what is running."""

    def metrics(self) -> dict[str, float]:
        """Numbers for operators by name."""


def monotonic_us() -> int:
    """Time of the monotonic clock, microseconds."""
    return time.monotonic_ns() // 1000


class ControllerHost:
    """Runs a controller in a process.

    Args:
        controller: the pure controller; nobody else may touch it.
        runner: runs the members.
        reply: takes every Release exactly once; called from any thread, never under the lock.
        guard: of the threads and replies.
    """

    def __init__(
        self,
        controller: Controller,
        runner: Runner,
        reply: Callable[[Release], None],
        guard: Guard | None = None,
    ) -> None:
        self.controller = controller
        self.lock = threading.Lock()
        self.now_us = monotonic_us
        self.guard = guard or Guard()
        self._runner = runner
        self._reply = reply
        self._inputs: dict[object, Inputs] = {}
        self._stop = threading.Event()
        self._deadline_came = threading.Event()
        self._retune_due = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch_deadlines, name="exeunt-deadlines", daemon=True),
            threading.Thread(target=self._tune, name="exeunt-tuning", daemon=True),
        ]
        controller.admission.plain_tickets = runner.plain_tickets
        controller.admission.lean.workers = runner.workers
        runner.attach(self)

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def submit(self, request: Request, inputs: Inputs, *, gathers: bool = False) -> None:
        """Accept a client request, and begin it if its turn has come; its Release comes later through `reply`.

        Args:
            request: the request.
            inputs: public input -> [rows, ...]; kept until the members have them.
            gathers: where tickets are short and plain, it waits for the caller's `begin`, and shares its ticket with
                what is submitted until then.

        Raises:
            RequestError: no rows or too many.
            OverloadedError: full, or stopping.
        """
        with self.lock:
            self.controller.offer(request, self.now_us())
            self._inputs[request.key] = inputs
        if request.options.deadline_us is not None:
            self._deadline_came.set()
        if not (gathers and self.controller.admission.few_short_tickets):
            self.begin()

    def begin(self, *, at_once: bool = False) -> None:
        """Hand waiting requests to the runner while tickets are free.

        Args:
            at_once: where those who wait are few and their tickets short and plain, they are answered on return.
        """
        few = at_once and self.controller.admission.few_short_tickets
        start = self._runner.run_at_once if few else self._runner.start
        while True:
            with self.lock:
                ticket = self.controller.next_ticket(self._runner.at_work, self.now_us())
                if ticket is None:
                    return
                parts = [self._inputs.pop(request.key) for request in ticket.requests]
            try:
                start(ticket, _merged(parts))
            except Exception as error:  # its clients must hear of it, and its place must become free
                self.guard.survived("start of a ticket", error)
                with self.lock:
                    releases = self.controller.failed(ticket.id, ServingError(f"not started: {error!r}"), self.now_us())
                self._send(releases)

    def arrived(
        self,
        ticket_id: int,
        probabilities: Mapping[tuple[int, int], np.ndarray],
        rows: np.ndarray | None = None,
    ) -> None:
        """Votes have arrived; see Controller.arrived."""
        with self.lock:
            releases = self.controller.arrived(ticket_id, probabilities, self.now_us(), rows)
            over = ticket_id not in self.controller.tickets
            retune_due = over and self.controller.tuner.retune_due
        self._send(releases)
        if retune_due:
            self._retune_due.set()
        if over or releases:  # a ticket has become free
            self.begin()

    def failed(self, ticket_id: int, error: ExeuntError, rows: np.ndarray | None = None) -> None:
        """A ticket's run has failed; see Controller.failed."""
        with self.lock:
            releases = self.controller.failed(ticket_id, error, self.now_us(), rows)
        self._send(releases)
        self.begin()

    def toss_probability(self, load_q: float) -> float:
        """With which probability answered rows are finished where the load allows `load_q`; see Coins."""
        with self.lock:
            return self.controller.decisions.coins.probability(load_q)

    def use_late_tossing(self) -> None:
        """The runner tosses answered rows when it is about to run them (`toss_answered`); called once, at `attach`."""
        with self.lock:
            self.controller.decisions.changes.set_late_tossing(True)

    def toss_answered(self, ticket_id: int, load_q: float) -> np.ndarray:
        """Toss a ticket's answered rows that are about to run; rows (indices) left out. See the controller's."""
        with self.lock:
            return self.controller.toss_answered(ticket_id, load_q)

    def awaited(self, ticket_id: int) -> bool:
        """Whether anybody or the feedback still waits for a ticket's votes."""
        with self.lock:
            return ticket_id in self.controller.tickets

    def work_ended(self) -> None:
        """The runner has ended the work of a ticket: its place is free."""
        self.begin()

    def set_finish_probability(self, q: float) -> None:
        """Feedback sampling: rows answered from now on finish with probability q."""
        with self.lock:
            self.controller.decisions.changes.set_finish_probability(q)

    def refuse_newcomers(self) -> None:
        """From now on new requests are refused."""
        with self.lock:
            self.controller.close()

    def drain(self, wait_s: float) -> bool:
        """Refuse newcomers, wait for the rest, answer what is left UNAVAILABLE; True if nothing was left."""
        self.refuse_newcomers()
        end_s = time.monotonic() + wait_s
        idle = False
        while not idle and time.monotonic() < end_s:
            with self.lock:
                idle = self.controller.idle
            if not idle:
                time.sleep(0.005)
        with self.lock:
            releases = self.controller.give_up(self.now_us())
            self._inputs.clear()
        self._send(releases)
        return idle

    def close(self) -> None:
        """Stop threads and runner. Call `drain` before."""
        self._stop.set()
        self._deadline_came.set()
        self._retune_due.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._runner.close()

    def _send(self, releases: list[Release]) -> None:
        """Reply to everybody; one reply that fails does not keep back the others'."""
        for release in releases:
            self._inputs.pop(release.key, None)  # one that was refused while it waited
            try:
                self._reply(release)
            except Exception as error:  # as every edge: its client is gone, the others must not be
                self.guard.survived("reply", error)

    def _watch_deadlines(self) -> None:
        while not self._stop.is_set():
            if not self.guard.run("deadlines", self._pass_deadlines):
                self._stop.wait(_IDLE_TICK_S)

    def _pass_deadlines(self) -> None:
        while not self._stop.is_set():
            with self.lock:
                releases = self.controller.tick(self.now_us())
                next_us = self.controller.next_deadline_us()
            self._send(releases)
            if releases:
                self.begin()
            wait_s = _IDLE_TICK_S if next_us is None else (next_us - self.now_us()) / 1e6
            if wait_s > 0:
                self._deadline_came.wait(min(wait_s, _IDLE_TICK_S))
                self._deadline_came.clear()

    def _tune(self) -> None:
        while not self._stop.is_set():
            self._retune_due.wait()
            self._retune_due.clear()
            self.guard.run("tuning", self._retune)

    def _retune(self) -> None:
        with self.lock:
            job = self.controller.decisions.changes.retune()
        if job is not None:
            outcome = job()
            with self.lock:
                self.controller.decisions.changes.adopt(outcome)


def _merged(parts: list[Inputs]) -> Inputs:
    """One batch of several requests' inputs, rows in their order."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
