"""Replay: a stream through a tuner, offline, by the decision core that the server uses (exeunt/deciding/decisions.py).

No rule of its own: recorded votes take the place of members, recorded coins that of chance, and what happened beside
completed exits (deadlines, failures, an operator's changes) is done again at its moment. The tuner's jobs run at once,
on what the tuner gave them; they are adopted when the record says so, or `retune_lag_rows` learnt rows later.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from exeunt.deciding.batch import Batch
from exeunt.deciding.decisions import Decisions
from exeunt.deciding.heads import Heads
from exeunt.deciding.votes import ExitVotes
from exeunt.manifest import Costs
from exeunt.records.decided import DecidedRows, Event
from exeunt.records.feedback import Feedback
from exeunt.replay.jobs import Jobs, Stopwatch
from exeunt.replay.run import ReplayRun
from exeunt.replay.stream import CompletedExit, VoteStream, completed_exits, tickets_of
from exeunt.settings import Settings
from exeunt.tuning.tuner import Tuner

RETUNE_LAG_ROWS = 32  # a job of a few milliseconds at a few thousand rows per second


def replay(
    stream: VoteStream,
    tuner: Tuner,
    costs: Costs,
    settings: Settings,
    *,
    seed: int = 0,
    retune_lag_rows: int = RETUNE_LAG_ROWS,
    policy: str = "",
) -> ReplayRun:
    """Answer the rows of a stream again.

    Args:
        stream: rows and arrivals.
        tuner: fresh; learns while it goes.
        costs: latency of the exits.
        settings: lossless, on_failure and shadow_share are used here. Where they are those of the record, the tuner's
            jobs are started and adopted, and its promise is changed, when the record says so.
        seed: of the shadow coins, tossed as the controller does.
        retune_lag_rows: rows learnt between the start of a job and its adoption, unless the record says when.
        policy: name in the results; the tuner's where empty.

    Returns:
        the answers, in the stream's row order.
    """
    replaying = _Replay(stream, tuner, costs, settings, np.random.default_rng(seed), retune_lag_rows)
    happenings: list[tuple[int, CompletedExit | Event]] = [
        (completed.moment, completed) for completed in completed_exits(stream)
    ]
    happenings += [(event[0], event) for event in stream.events]
    for _, happening in sorted(happenings, key=lambda pair: pair[0]):
        if isinstance(happening, CompletedExit):
            replaying.complete(happening)
        else:
            replaying.repeat(happening)
    return replaying.run(policy or tuner.name)


class _Replay:
    """Drives the decision core along a stream."""

    def __init__(
        self,
        stream: VoteStream,
        tuner: Tuner,
        costs: Costs,
        settings: Settings,
        rng: np.random.Generator,
        retune_lag_rows: int,
    ) -> None:
        self._stream = stream
        self._tuner = tuner
        self._stopwatch = Stopwatch(tuner)
        self._costs = costs
        self._at_rest = costs.masks[0]
        self._shadow_share = settings.shadow_share
        self._rng = rng
        self._rows = tickets_of(stream)
        self._batches: dict[int, Batch] = {}
        self._requested_exits: dict[int, np.ndarray] = {}  # of made streams: exits that a ticket asks for, bool [exits]
        self._decided: dict[int, DecidedRows] = {}  # of tickets that are over
        self._sampled = bool((stream.rows.q < 1.0).any())
        self._non_finite = stream.decided.non_finite if stream.decided.non_finite.any() else None
        self.decisions = Decisions(settings, stream.exits, tuner, self._toss)
        self.decisions.on_over.append(self._keep)
        self.decisions.on_feedback.append(self._learnt)
        self.jobs = Jobs(self.decisions, retune_lag_rows, recorded=stream.recorded_under(settings))
        self._repeat: dict[str, Callable[[Any], object]] = {
            "expired": lambda value: self.decisions.expire(self._batch(value[0]), np.array(value[1], dtype=np.intp)),
            "failed": lambda value: self.decisions.fail(self._batch(value[0]), np.array(value[1], dtype=np.intp)),
            "given_up": lambda value: self.decisions.give_up(self._batch(value[0])),
            "tossed": lambda value: self.decisions.toss_answered(self._batch(value[0]), value[1]),
            "late_thinning": self.decisions.changes.set_late_tossing,
            "feedback": self.decisions.changes.set_feedback,
            "finish_probability": self.decisions.changes.set_finish_probability,
            "exits_off": lambda value: self.decisions.changes.set_exits_off(np.isin(np.arange(stream.exits), value)),
            "heads": self._change_heads,
            "taken": lambda _: self.jobs.take_recorded(),
            "adopted": lambda _: self.jobs.adopt_recorded(),
        }
        if self.jobs.recorded:  # other promises are what the replay was asked for
            self._repeat["class_losses"] = lambda value: self.decisions.changes.set_class_losses(tuple(value))

    def complete(self, completed: CompletedExit) -> None:
        """The votes of a ticket at an exit are there."""
        ticket, exit_ = completed.ticket, completed.exit
        batch, rows = self._batch(ticket), self._rows[ticket]
        if batch.over or not (self._stream.recorded or self._asks_for(ticket)[exit_]):
            return
        votes = ExitVotes(
            labels=self._stream.rows.labels[rows, exit_],
            confidence=self._stream.rows.confidence[rows, exit_],
            non_finite=None if self._non_finite is None else self._non_finite[rows, exit_],
            certain=lambda places: self._stream.certain[rows[places]] <= exit_,
        )
        self.decisions.complete(batch, exit_, votes)

    def repeat(self, event: Event) -> None:
        """Do again what happened beside completed exits."""
        _, name, value = event
        if name in self._repeat:
            self._repeat[name](value)

    def _change_heads(self, value: list[Any]) -> None:
        """Ramps changed: what the exits say now is in the recorded votes; what was known of them is in the event."""
        version, exits, labels, confidence, q = value
        shape = (len(q), self._stream.exits)
        votes = np.array(labels, dtype=np.int32).reshape(shape), np.array(confidence, dtype=np.float32).reshape(shape)
        feedback = dataclasses.replace(Feedback.observed(*votes), q=np.array(q, dtype=np.float32))
        self.decisions.changes.set_heads(Heads(int(version)), np.isin(np.arange(self._stream.exits), exits), feedback)

    def _batch(self, ticket: int) -> Batch:
        if ticket not in self._batches:
            rows, recorded = self._rows[ticket], self._stream.rows
            self._batches[ticket] = Batch(
                ticket,
                self._stream.exits,
                recorded.never[rows],
                recorded.max_risk[rows],
                recorded.service_class[rows],
                heads_version=int(self._stream.decided.heads_version[rows[0]]),
            )
        return self._batches[ticket]

    def _asks_for(self, ticket: int) -> np.ndarray:
        """Exits that a ticket of a made stream asks for, bool [exits]."""
        if ticket not in self._requested_exits:
            shadow = self._shadow_share > 0 and self._rng.random() < self._shadow_share
            self._requested_exits[ticket] = self._at_rest if shadow else self.decisions.active() & self._at_rest
        return self._requested_exits[ticket]

    def _toss(self, batch: Batch, rows: np.ndarray, q: float) -> tuple[np.ndarray, np.ndarray] | None:
        """The recorded coins: fresh ones would ask for full votes that nobody computed."""
        if not self._sampled:
            return None
        stream_rows = self._rows[batch.id][rows]
        return self._stream.rows.q[stream_rows], self._stream.decided.finishes[stream_rows]

    def _keep(self, decided: DecidedRows, events: list[Event]) -> None:
        self._decided[int(decided.ticket[0])] = decided

    def _learnt(self, feedback: Feedback) -> None:
        self.jobs.after(len(feedback))

    def run(self, policy: str) -> ReplayRun:
        """What was decided, in the stream's row order."""
        for ticket in self._rows:
            if ticket not in self._decided:  # its end is not in the record
                batch = self._batch(ticket)
                self._decided[ticket] = batch.record(np.zeros(batch.rows, dtype=bool))
        decided = DecidedRows.joined([self._decided[ticket] for ticket in self._rows])
        decided = decided.part(np.argsort(np.concatenate(list(self._rows.values()))))
        return dataclasses.replace(
            ReplayRun.of(policy, decided, self._latency_us(decided)),
            serving_s=self._stopwatch.serving_s,
            tuning_s=self.jobs.tuning_s,
            jobs=self.jobs.count,
            metrics=self._tuner.metrics(),
        )

    def _latency_us(self, decided: DecidedRows) -> np.ndarray:
        """Latency of each row's answer, by the bag's costs and the exits that its ticket asked for; float64 [rows]."""
        offered = self._stream.offered
        for ticket, exits in self._requested_exits.items():
            offered[self._rows[ticket]] = exits
        return latency_us_of(decided, offered, self._costs)


def latency_us_of(decided: DecidedRows, offered: np.ndarray, costs: Costs) -> np.ndarray:
    """Latency of each row's answer, NaN where there is none; float64 [rows]. `offered`: bool [rows, exits]."""
    kinds, which = np.unique(offered, axis=0, return_inverse=True)
    by_kind = np.stack([costs.latency_us(kind) for kind in kinds])
    answered = decided.rows.exit >= 0
    return np.where(answered, by_kind[which.reshape(-1), decided.rows.exit], np.nan)
