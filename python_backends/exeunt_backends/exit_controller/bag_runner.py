"""Ensemble mode: a ticket's members run as one call of NAME_bag, by Triton's own ensemble scheduling."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import triton_python_backend_utils as pb_utils

from exeunt.contract import EARLY, TICKET, bag_model, tap_name
from exeunt.errors import ServingError


class BagRunner:
    """Runs a ticket as one call of NAME_bag, which asks only for the taps of the wanted exits.

    A call that fails is made again, request by request: so that one bad request fails nobody else, and so that answers
    which left early are still confirmed.
    """

    def __init__(self, manifest, calls, guard):
        self._model = bag_model(manifest.bag)
        self._last = len(manifest.exits) - 1
        self._calls = calls
        self._guard = guard
        self._at_work = set()  # ticket ids
        self._lock = threading.Lock()
        # each call blocks one thread of ours and one of Triton's pool until the last tap
        self._pool = ThreadPoolExecutor(manifest.settings.max_tickets, thread_name_prefix="exeunt-bag")

    @property
    def at_work(self):
        """See exeunt.hosting.host.Runner."""
        return len(self._at_work)

    plain_tickets = None  # see exeunt.hosting.host.Runner

    def attach(self, host):
        """See exeunt.hosting.host.Runner."""
        self._host = host

    def start(self, ticket, inputs):
        """See exeunt.hosting.host.Runner."""
        with self._lock:
            self._at_work.add(ticket.id)
        self._pool.submit(self._work, ticket, inputs)

    def close(self):
        """See exeunt.hosting.host.Runner."""
        self._pool.shutdown(wait=True)

    def metrics(self):
        """Triton's own statistics cover the segments."""
        return {"calls": float(self.at_work), "refused_taps_total": float(self._calls.refused)}

    def _work(self, ticket, inputs):
        """All that is done for a ticket, in a thread of the pool."""
        try:
            if self._host.awaited(ticket.id):
                self._run(ticket, inputs)
        except Exception as error:  # an edge: the clients must hear of it
            self._guard.survived("call of the bag", error)
            self._host.failed(ticket.id, ServingError(f"{self._model}: {error!r}"))
        finally:
            with self._lock:
                self._at_work.discard(ticket.id)
            self._host.work_ended()

    def _run(self, ticket, inputs):
        problem = self._call(ticket.id, inputs, np.flatnonzero(ticket.wanted))
        if not self._host.awaited(ticket.id):  # as it should be: the last tap has brought the full vote
            return
        problem = problem or "it ended before its last tap"
        early = ticket.finishes & ~ticket.open & (ticket.reason == EARLY)
        if len(ticket.requests) > 1 or early.any():
            self._again(ticket, inputs, problem)
        else:
            self._host.failed(ticket.id, ServingError(f"{self._model}: {problem}"))

    def _again(self, ticket, inputs, problem):
        """Full votes, request by request; only rows whose own call fails are failed."""
        votes: dict = {}
        good, bad = [], []
        for request in ticket.requests:
            rows = np.arange(request.first_row, request.first_row + request.rows)
            if not ticket.running[rows].any():
                continue
            collected, found = self._collect(ticket.id, {name: array[rows] for name, array in inputs.items()})
            if collected is None:
                problem = found
                bad.append(rows)
                continue
            good.append(rows)
            for pair, array in collected.items():
                votes.setdefault(pair, []).append(array)
        if bad:
            self._host.failed(ticket.id, ServingError(f"{self._model}: {problem}"), np.concatenate(bad))
        if good:
            joined = {pair: np.concatenate(parts) for pair, parts in votes.items()}
            self._host.arrived(ticket.id, joined, np.concatenate(good))

    def _collect(self, ticket_id, inputs):
        """(member, depth) -> votes of the last exit, or None, and what went wrong."""
        rows = len(next(iter(inputs.values())))
        secret = self._calls.open(ticket_id, rows, np.array([self._last]), collect=True)
        problem = None
        try:
            problem = self._execute(secret, rows, inputs, [tap_name(self._last)])
        finally:
            call = self._calls.close(secret)
        return (None, problem or "it ended before its last tap") if call.expected else (call.votes, None)

    def _call(self, ticket_id, inputs, exits):
        """Make the call; its votes go to the host as they come. What went wrong, or None."""
        rows = len(next(iter(inputs.values())))
        secret = self._calls.open(ticket_id, rows, exits)
        try:
            return self._execute(secret, rows, inputs, [tap_name(exit_) for exit_ in exits])
        finally:
            self._calls.close(secret)

    def _execute(self, secret, rows, inputs, taps):
        tensors = [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in inputs.items()]
        tensors.append(pb_utils.Tensor(TICKET, np.full((rows, 1), secret, dtype=np.int64)))
        try:
            call = pb_utils.InferenceRequest(model_name=self._model, inputs=tensors, requested_output_names=taps)
            response = call.exec()
        except pb_utils.TritonModelException as error:
            return str(error)
        return response.error().message() if response.has_error() else None
