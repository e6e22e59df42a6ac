"""The engine: worker threads (workers) that run the members' segments inside the controller's process."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from exeunt.cores import allowed_cores, home_cores
from exeunt.deciding.gears import PlainTickets
from exeunt.deciding.ticket import Ticket
from exeunt.engine.engine_host import EngineHost
from exeunt.engine.packing import Packer
from exeunt.engine.progress import Progress, SegmentRun
from exeunt.engine.sampling import FinishProbability
from exeunt.engine.scheduler import Scheduler
from exeunt.engine.segments import Segments, Votes
from exeunt.engine.sessions import Session, sessions_of, workers_of
from exeunt.engine.whole_tickets import WholeTickets
from exeunt.errors import ServingError
from exeunt.manifest import Manifest

log = logging.getLogger(__name__)


class Engine:
    """Runs tickets segment by segment.

    Args:
        manifest: the bag.
        folder: holds one `<model>.onnx` per segment and heads model.
        sessions: by model, in place of those that `folder` holds.

    Raises:
        ConfigError: a file is missing or does not fit the manifest.
        ServingError: a model cannot be loaded.
    """

    def __init__(self, manifest: Manifest, folder: Path, *, sessions: Mapping[str, Session] | None = None) -> None:
        settings = manifest.settings
        self.workers = workers_of(settings)
        if sessions is None:
            providers = [provider.strip() for provider in settings.providers.split(",")]
            sessions = sessions_of(manifest, folder, settings.intra_op_threads or 1, providers, self.workers)
        self._manifest = manifest
        self._segments = Segments(manifest, sessions)
        self._packer = Packer(sessions.values())
        self._scheduler = Scheduler(manifest, self.workers)
        self._whole_tickets = WholeTickets(manifest, self._scheduler.costs, self._segments, self.workers)
        self._sampling = FinishProbability.of(settings)
        self._anywhere = allowed_cores()
        self._changed = threading.Condition()
        self._idle = 0
        self._closing = False
        self._host: EngineHost  # set by `attach`, before anything runs
        self._take: Callable[[Ticket, Votes], None] | None = None
        self._threads: list[threading.Thread] = []

    def attach(self, host: EngineHost) -> None:
        """Set the host that gets votes and failures, and start the workers."""
        host.use_late_tossing()
        self._host = host
        for number in range(self.workers):
            args = (home_cores(number, self.workers),)
            thread = threading.Thread(target=self._serve, args=args, name=f"exeunt-worker-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._packer.start()

    def learn_from(self, ramps: frozenset[tuple[int, int]], take: Callable[[Ticket, Votes], None]) -> None:
        """Hand over features and votes of finished tickets from now on; called once, before the first ticket.

        Args:
            ramps: (member, depth) of every ramp that learns.
            take: gets the ticket, and features and final votes by (member, depth), [rows, ...]; must not block.
        """
        self._segments.learns = ramps
        self._take = take

    def run_at_once(self, ticket: Ticket, inputs: Mapping[str, np.ndarray]) -> None:
        """See exeunt.hosting.host.Runner: a short plain ticket in the calling thread, any other as `start`."""
        if not self._whole_tickets.is_short(ticket):
            self.start(ticket, inputs)
            return
        with self._changed:
            self._scheduler.count_whole(ticket.rows)
        self._whole_tickets.run(ticket, inputs, self._host)

    def start(self, ticket: Ticket, inputs: Mapping[str, np.ndarray]) -> None:
        """Take a ticket in; never blocks.

        Args:
            ticket: the controller's.
            inputs: the bag's inputs by name, first axis = the ticket's rows; not changed by anybody from now on.
        """
        with self._changed:
            self._scheduler.start(ticket, inputs, self._idle)
            self._wake()

    @property
    def at_work(self) -> int:
        """See exeunt.hosting.host.Runner: answered tickets finish in idle time and take nobody's place."""
        return 0

    @property
    def plain_tickets(self) -> PlainTickets | None:
        """See exeunt.hosting.host.Runner: short ones go one to a worker, and share what handling a request costs."""
        rows = self._scheduler.costs.short_rows
        return PlainTickets(self.workers, rows) if rows > 1 else None

    def close(self) -> None:
        """Let the workers end after their present runs and join them; tickets that are left are forgotten."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._packer.close()

    def metrics(self) -> dict[str, float]:
        """Numbers for operators; those ending in `_total` only grow."""
        with self._changed:
            scheduler, counters = self._scheduler, self._scheduler.counters
            return {
                "tickets": len(scheduler.tickets),
                "open_tickets": scheduler.open_tickets,
                "ready_segments": scheduler.ready_pieces,
                "idle_workers": self._idle,
                "backlog_rows": scheduler.backlog,
                "unconfirmed_rows": scheduler.unconfirmed,
                "finish_probability": self._sampling.q,
                "runs_total": counters.runs,
                "merged_runs_total": counters.merged_runs,
                "feedback_runs_total": counters.feedback_runs,
                "overtaking_runs_total": counters.overtaking_runs,
                "split_pieces_total": counters.split_pieces,
                "left_out_rows_total": counters.left_out_rows,
                "work_us_total": counters.work_us,
                "full_work_us_total": counters.full_work_us,
                "faults_total": counters.faults,
            }

    def _serve(self, home: set[int]) -> None:
        """A worker's life: nothing that goes wrong in it may end it, for tickets would wait for ever."""
        while not self._closing:
            try:
                run = self._next(waits=False) or self._wait_at(home)
                if run is not None:
                    self._run(run)
            except Exception as error:
                self._start_over(error)

    def _start_over(self, error: Exception) -> None:
        """The scheduler failed, and which work it lost is unknown: fail all its tickets, begin with an empty one."""
        log.error("the scheduler failed; all tickets in it fail with it", exc_info=error)
        with self._changed:
            tickets = list(self._scheduler.tickets.values())
            for progress in tickets:
                progress.over = True  # runs under way come to nothing
            counters = self._scheduler.counters
            counters.faults += 1
            self._scheduler = Scheduler(self._manifest, self.workers)
            self._scheduler.counters = counters
        for progress in tickets:
            self._host.failed(progress.ticket.id, ServingError(f"the engine failed: {error!r}"))

    def _wait_at(self, home: set[int]) -> SegmentRun | None:
        """Wait for the next run on these cores; it may run on any. To move may take a while: never under the lock."""
        _move_to(home)
        try:
            return self._next(waits=True)
        finally:
            _move_to(self._anywhere)

    def _next(self, *, waits: bool) -> SegmentRun | None:
        """The next run; None where there is none and the worker does not wait, or when the engine closes."""
        with self._changed:
            while not self._closing:
                run = self._scheduler.next_run(self._idle)
                if run is not None:
                    self._wake()
                    return run
                if not waits:
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
        return None

    def _wake(self) -> None:
        if self._idle and self._scheduler.ready_pieces:
            self._changed.notify(min(self._idle, self._scheduler.ready_pieces))

    def _run(self, run: SegmentRun) -> None:
        try:
            remaining = self._tossed(run)
            if remaining.pieces:
                self._segments.run(remaining)
        except Exception as error:  # a worker is an edge too: whatever a run dies of must cost its own tickets only
            self._rerun_one_by_one(run, error)
            return
        with self._changed:
            completed = self._scheduler.done(run)
            self._wake()
        tickets: dict[int, list[Progress]] = {}
        for ended in completed:
            tickets.setdefault(ended.exit_, []).append(ended.progress)
        for exit_, progresses in tickets.items():
            self._vote_at_exit(exit_, progresses)

    def _tossed(self, run: SegmentRun) -> SegmentRun:
        """Toss the coins that are due of a run's answered rows; the run without rows that need not finish."""
        late = dict.fromkeys(piece.progress for piece in run.pieces if piece.progress.ticket.tossed_late)
        untossed = [progress for progress in late if progress.ticket.waits_for_toss.any()]
        if not untossed:
            return run
        for progress in untossed:
            self._host.toss_answered(progress.ticket.id, self._sampling.q)
        with self._changed:
            return self._scheduler.tossed(run, untossed)

    def _vote_at_exit(self, exit_: int, tickets: list[Progress]) -> None:
        """Run the heads of an exit that these tickets have completed, and pass the votes on."""
        try:
            for arrived in self._segments.votes(exit_, tickets):
                ticket_id = arrived.progress.ticket.id
                self._host.arrived(ticket_id, arrived.votes, arrived.rows)
                if self._sampling.q < 1.0:  # under load rows that will not run are dropped at once
                    self._host.toss_answered(ticket_id, self._sampling.q)
        except Exception as error:  # as in `_run`
            for progress in tickets:
                self._drop(progress.ticket.id, error)
            return
        if self._take is not None and exit_ == len(self._manifest.exits) - 1:
            for progress in tickets:
                if (features_and_votes := self._segments.features_and_votes(progress)) is not None:
                    self._take(progress.ticket, features_and_votes)
        with self._changed:
            for progress in tickets:
                self._scheduler.decided(progress, exit_)
            self._wake()
        if self._scheduler.backlog or self._sampling.q < 1.0:
            self._sample()

    def _sample(self) -> None:
        """Adapt the share of answered rows that are finished to how many wait for it."""
        with self._changed:
            changed = self._sampling.update(self._scheduler.backlog, self._host.now_us())
            q = self._sampling.q
        sampled = self._host.toss_probability(q)
        with self._changed:
            self._scheduler.finish_probability = sampled
            self._scheduler.saves_work = sampled < q
        if changed:
            self._host.set_finish_probability(q)

    def _rerun_one_by_one(self, run: SegmentRun, error: Exception) -> None:
        """Run merged pieces one by one, so that only the culprit's ticket fails."""
        if len(run.pieces) == 1:
            self._drop(run.pieces[0].progress.ticket.id, error)
            return
        for piece in run.pieces:
            self._run(replace(run, pieces=[piece]))

    def _drop(self, ticket_id: int, error: Exception) -> None:
        with self._changed:
            progress = self._scheduler.drop(ticket_id)
        if progress is not None:
            self._whole_tickets.failed(progress.ticket, progress.inputs, self._host, error)


def _move_to(cores: set[int]) -> None:
    """Keep the calling thread on these cores; where a host has taken them away, it stays where it is."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, cores)
