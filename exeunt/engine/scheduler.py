"""Which segment runs next. Pure: no threads, no clock; the caller holds one lock around every call.

The queue's key is class, ticket, exit, remaining time (docs/engine.md, "Order of work"):

1. certain: segments that the next exit of a ticket with unanswered rows waits for, oldest ticket first; within a
   ticket the member that is farthest from the exit first, since the exit waits for the slowest. Which exits are worked
   towards, `RunPlan.best` says;
2. speculative: segments that only a later exit of such a ticket needs, oldest ticket first, shallow exits first;
3. feedback: segments of tickets whose rows are all answered, oldest first;
4. unlikely: while feedback is sampled, speculative segments that are more likely than not in vain; not even idle
   workers run them where less work is asked for, or where they would slow down what the ticket waits for.

So answered inputs use idle workers only; while few of their rows wait, they leave one idle worker free for a newcomer.
One exception, for lasting overload: near `max_unconfirmed_rows` one segment of feedback may go first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from exeunt.deciding.ticket import Ticket
from exeunt.engine import merging
from exeunt.engine.counters import SchedulerCounters
from exeunt.engine.plan import Orders, RunCosts
from exeunt.engine.progress import DueExit, Kind, Piece, Progress, SegmentRun
from exeunt.engine.queue import WorkQueue
from exeunt.manifest import Manifest

URGENT_SHARE = 0.75  # of max_unconfirmed_rows: from here on feedback may overtake
SPARE_SHARE = 0.0625  # of max_unconfirmed_rows: with a smaller backlog the last idle worker takes no feedback
WORTH_SPECULATING = 0.5  # least probability that the segment is needed
FEEDBACK_RUN = 1.5  # longest run of feedback, in times of the longest segment with one row


class Scheduler:
    """Tickets in the engine and the queue of their segments."""

    def __init__(self, manifest: Manifest, workers: int) -> None:
        self.costs = RunCosts(manifest)
        self.workers = workers
        self.counters = SchedulerCounters()
        self.backlog = 0.0  # answered rows that still run, each counted 1 / q
        self.unconfirmed = 0.0  # those of them that left on trust
        self.finish_probability = 1.0  # q of rows answered now; set by the caller
        self.saves_work = False  # not even idle workers do what is likely in vain; set by the caller
        self.tickets: dict[int, Progress] = {}
        self.member_depths = [member.depth for member in manifest.members]
        self._urgent_at = URGENT_SHARE * manifest.settings.max_unconfirmed_rows
        self._spare_below = SPARE_SHARE * manifest.settings.max_unconfirmed_rows
        self._full_us = self.costs.together_us(1)
        self._feedback_run_us = FEEDBACK_RUN * self.costs.longest_us()
        self.orders = Orders(manifest, self.costs, workers)
        self._queue = WorkQueue(self._current)
        self.open_tickets = 0  # with unanswered rows, as last looked up

    @property
    def ready_pieces(self) -> int:
        """Segments that could run now."""
        return len(self._queue)

    def start(self, ticket: Ticket, inputs: Mapping[str, np.ndarray], idle_workers: int = 0) -> None:
        """Take a ticket in.

        Args:
            ticket: the controller's.
            inputs: by name, first axis = the ticket's rows.
            idle_workers: workers that have nothing to do; with none to share it, a short plain ticket is one worker's.
        """
        plan = self.orders.plan(ticket.requested_exits)
        order = self.orders.of(ticket, plan, not self.open_tickets)
        in_series = (whole := plan.plain and ticket.rows <= self.costs.short_rows) and not idle_workers
        progress = Progress(ticket, inputs, plan, order, len(self.member_depths), whole, in_series)
        self.tickets[ticket.id] = progress
        self.open_tickets += 1
        self.counters.full_work_us += self._full_us * ticket.rows
        for pieces in progress.pieces[:1] if in_series else progress.pieces:
            self._queue.add(pieces[0], self.kind(pieces[0]))

    def count_whole(self, rows: int) -> None:
        """Rows of a short plain ticket run past the queue."""
        self.counters.runs += len(self.member_depths)
        self.counters.full_work_us += self._full_us * rows
        self.counters.work_us += self.costs.together_us(rows)

    def next_run(self, idle_workers: int = 0) -> SegmentRun | None:
        """Hand out the most urgent run.

        Args:
            idle_workers: workers beside the caller's that have nothing to do.

        Returns:
            the run, whose pieces are the caller's until `done` or `drop`; None where the worker has nothing to do.
        """
        for kind in (Kind.CERTAIN, Kind.SPECULATIVE):
            while (head := self._queue.head(kind)) is not None:
                if (overtaking := self._overtaking(head)) is not None:
                    return overtaking
                if head in self._queue:  # else its ticket was seen to be over while feedback was looked for
                    return self._serving(head, kind, idle_workers)
        if (head := self._queue.head(Kind.FEEDBACK)) is not None:
            last_idle = idle_workers == 0 and self.workers > 1
            return None if last_idle and self.backlog < self._spare_below else self._feedback(head)
        head = None if self.saves_work else self._queue.head(Kind.UNLIKELY)
        if head is None or not head.progress.order.works_ahead:
            return None
        return self._serving(head, Kind.UNLIKELY, idle_workers)

    def kind(self, piece: Piece) -> Kind:
        """Class of a piece's next segment."""
        progress = piece.progress
        if (kind := progress.kind(piece)) == Kind.SPECULATIVE and not progress.order.works_ahead:
            return Kind.UNLIKELY
        if kind == Kind.SPECULATIVE and self.finish_probability < 1.0:
            needed_at, _ = progress.order.urgency(piece.member, piece.depth, progress.decided)
            stays = self.orders.staying(progress.plan.exits[progress.decided : needed_at], progress.ticket.lean)
            if stays + (1.0 - stays) * self.finish_probability < WORTH_SPECULATING:
                return Kind.UNLIKELY
        return kind

    def done(self, run: SegmentRun) -> list[DueExit]:
        """A run has ended and its outputs are kept.

        Returns:
            the exits that it completes; their votes must be passed to the controller, then to `decided`.
        """
        touched: dict[Progress, None] = {}
        for piece in run.pieces:
            piece.busy = False
            piece.depth = run.end
            if piece.progress.over:
                piece.tensors = {}
                continue
            touched[piece.progress] = None
            if piece.depth < self.member_depths[piece.member]:
                self._queue.add(piece, self.kind(piece))
            elif piece.progress.in_series and piece.member + 1 < len(self.member_depths):
                following = piece.progress.pieces[piece.member + 1][0]
                self._queue.add(following, self.kind(following))
        return [DueExit(progress, exit_) for progress in touched for exit_ in progress.complete()]

    def decided(self, progress: Progress, exit_: int) -> None:
        """The controller has heard of an exit: some rows may be answered now, the next exit is what counts."""
        if progress.over:
            return
        if exit_ == progress.plan.exits[-1]:
            self._forget(progress)
            return
        progress.decided = max(progress.decided, progress.plan.exits.index(exit_) + 1)
        before = progress.open_rows
        self._look(progress)
        if before:
            self.orders.learn(exit_, (before - progress.open_rows) / before, progress.ticket.lean)
        for pieces in progress.pieces:
            for piece in pieces:
                if piece in self._queue and (kind := self.kind(piece)) in (Kind.CERTAIN, Kind.FEEDBACK):
                    self._queue.place(piece, kind)

    def tossed(self, run: SegmentRun, tickets: Sequence[Progress]) -> SegmentRun:
        """Some answered rows of a run that a worker has begun will not be finished: the run without them.

        The run itself goes to `done`, whatever is left of it.
        """
        before_us = self._work_us(run)
        for progress in tickets:
            if not progress.over:
                self._look(progress)
        pieces = [piece for piece in run.pieces if not piece.progress.over]
        for piece in pieces:
            self.counters.left_out_rows += piece.compact()
        remaining = replace(run, pieces=pieces)
        self.counters.work_us += self._work_us(remaining) - before_us
        return remaining

    def drop(self, ticket_id: int) -> Progress | None:
        """Forget a ticket, failed or ended, and give it back; its runs under way come to nothing."""
        if (progress := self.tickets.get(ticket_id)) is not None:
            self._forget(progress)
        return progress

    def _overtaking(self, head: Piece) -> SegmentRun | None:
        """One segment of feedback before an unanswered ticket, once in its life, where the cap is near."""
        if self.unconfirmed <= self._urgent_at or head.progress.overtaken:
            return None
        if (oldest := self._queue.head(Kind.FEEDBACK)) is None:
            return None
        head.progress.overtaken = True
        self.counters.overtaking_runs += 1
        return self._feedback(oldest)

    def _serving(self, head: Piece, kind: Kind, idle_workers: int) -> SegmentRun:
        self._take(head)
        pieces = [head]
        # where nobody works ahead the ticket's other pieces take no worker
        free = idle_workers - len(self._queue) if head.progress.order.works_ahead else idle_workers
        if free > 0 and not head.progress.in_series:
            self._split(head, merging.shards(head, free, self._run_us(head)))
        elif not idle_workers:
            whole = head.progress.whole
            if others := [item for item in self._queue.companions(head, kind) if item.progress.whole == whole]:
                most_rows, waiting = self.costs.most_rows, self.open_tickets - 1
                pieces += merging.companions(head, others, self._run_us(head), most_rows, waiting, self.workers)
        return self._handed_out(SegmentRun(head.member, head.depth, kind, pieces, self._end(head)))

    def _end(self, head: Piece) -> int:
        """Depth after the next run of a piece."""
        return self.member_depths[head.member] if head.progress.whole else head.depth + 1

    def _run_us(self, head: Piece) -> Callable[[int], float]:
        """Time of the next run of a piece by number of rows."""
        return partial(self.costs.chain_us, head.member, head.depth, self._end(head))

    def _feedback(self, head: Piece) -> SegmentRun:
        """A run of feedback, short enough to delay nobody by more than a segment."""
        self._take(head)
        pieces = [head]
        most = self.costs.rows_within(head.member, head.depth, self._feedback_run_us)
        if len(head) > most:
            self._queue.add(head.split(most), Kind.FEEDBACK)
            self.counters.split_pieces += 1
        elif len(head) < most:
            others = self._queue.companions(head, Kind.FEEDBACK)
            pieces += merging.fillers(head, others, partial(self.costs.run_us, head.member, head.depth), most)
        self.counters.feedback_runs += 1
        return self._handed_out(SegmentRun(head.member, head.depth, Kind.FEEDBACK, pieces, head.depth + 1))

    def _handed_out(self, run: SegmentRun) -> SegmentRun:
        for piece in run.pieces[1:]:
            self._take(piece)
        self.counters.runs += 1
        self.counters.work_us += self._work_us(run)
        self.counters.merged_runs += len(run.pieces) > 1
        return run

    def _work_us(self, run: SegmentRun) -> float:
        """Time of a run as profiled."""
        return self.costs.chain_us(run.member, run.depth, run.end, run.rows)

    def _split(self, piece: Piece, parts: int) -> None:
        while parts > 1:
            other = piece.split(len(piece) - len(piece) // parts)
            self._queue.add(other, self.kind(other))
            self.counters.split_pieces += 1
            parts -= 1

    def _current(self, piece: Piece) -> Kind | None:
        """Class of a ready piece after a new look, compacted; None where its ticket has nothing left to run."""
        progress = piece.progress
        if progress.over:
            return None
        if not progress.runs():
            self._forget(progress)
            return None
        if progress.open and not progress.waits():  # answered meanwhile, by its deadline
            self._look(progress)
            if progress.over:
                return None
        self.counters.left_out_rows += piece.compact()
        return self.kind(piece)

    def _take(self, piece: Piece) -> None:
        self._queue.remove(piece)
        piece.busy = True

    def _look(self, progress: Progress) -> None:
        """Look up a ticket's rows and keep the sums."""
        was_open, backlog, unconfirmed = progress.open, progress.backlog, progress.unconfirmed
        progress.look()
        self.open_tickets += int(progress.open) - int(was_open)
        self.backlog += progress.backlog - backlog
        self.unconfirmed += progress.unconfirmed - unconfirmed
        if not progress.runs():
            self._forget(progress)

    def _forget(self, progress: Progress) -> None:
        """Let go of a ticket that has nothing left to run; nothing happens to one that is over already."""
        if progress.over:
            return
        del self.tickets[progress.ticket.id]
        progress.over = True
        self.open_tickets -= int(progress.open)
        self.backlog -= progress.backlog
        self.unconfirmed -= progress.unconfirmed
        if not self.tickets:
            self.backlog = self.unconfirmed = 0.0  # no rounding is left behind
        for pieces in progress.pieces:
            for piece in pieces:
                if piece in self._queue:
                    self._queue.remove(piece)
                if not piece.busy:
                    piece.tensors = {}
        progress.pieces = []  # a circle would keep its memory until Python looks for circles, which is seldom
