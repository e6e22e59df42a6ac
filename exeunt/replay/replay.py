"""Replay: a stream through a tuner, offline, with the calls and their order that the controller makes.

The loop below does what Controller does between `next_ticket` and `_learn`, without probabilities, requests and
releases, so that tens of thousands of rows take seconds; tests hold the two against each other. Jobs run at once, on
what the tuner gave them, and are adopted `retune_lag_rows` learnt rows later, or when the record says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from exeunt.contract import Reason
from exeunt.manifest import Costs
from exeunt.records.feedback import NEVER_SEEN, Feedback
from exeunt.replay.jobs import Jobs
from exeunt.replay.run import ReplayRun
from exeunt.replay.stream import VoteStream, events_of, tickets_of
from exeunt.settings import Settings
from exeunt.tuning.tuner import Answered, Tuner, View

RETUNE_LAG_ROWS = 32  # a job of a few milliseconds at a few thousand rows per second
_T = TypeVar("_T")


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
        settings: lossless and shadow_share are used here.
        seed: of the shadow coins, tossed as the controller does.
        retune_lag_rows: rows learnt between the start of a job and its adoption, unless the stream says when.
        policy: name in the results; the tuner's where empty.

    Returns:
        the answers, in the stream's row order.
    """
    replaying = _Replay(stream, tuner, costs, settings, np.random.default_rng(seed))
    jobs = Jobs(stream, tuner, retune_lag_rows)
    for event in events_of(stream):
        jobs.before(event.moment)
        learnt = replaying.complete(event.ticket, event.exit)
        if learnt:
            jobs.after(learnt)
    return replaying.run(policy or tuner.name, jobs)


class _Replay:
    """The rows' state while the replay runs."""

    def __init__(self, stream: VoteStream, tuner: Tuner, costs: Costs, settings: Settings, rng: np.random.Generator):
        rows, exits = stream.rows.labels.shape
        self.tickets = [_compact(each) for each in tickets_of(stream)]
        self.serving_s = 0.0
        self._stream = stream
        self._told = stream.rows
        self._tuner = tuner
        self._costs = costs
        self._prices_us: dict[bytes, np.ndarray] = {}
        self._settings = settings
        self._rng = rng
        self._last = exits - 1
        self._options = bool(self._told.never.any() or np.isfinite(self._told.max_risk).any())
        self._any_forced = bool((stream.forced >= 0).any())

        self._wanted: list[np.ndarray | None] = [None] * len(self.tickets)
        self._deepest = [-1] * len(self.tickets)
        self._labels = np.full((rows, exits), NEVER_SEEN, dtype=np.int32)
        self._confidence = np.full((rows, exits), np.nan, dtype=np.float32)
        self._order = np.full((rows, exits), NEVER_SEEN, dtype=np.int64)
        self._open = np.ones(rows, dtype=bool)
        self._exit = np.full(rows, -1, dtype=np.int32)
        self._reason = np.zeros(rows, dtype=np.int8)
        self._version = np.zeros(rows, dtype=np.int64)
        self._decided = np.full(rows, -1, dtype=np.int64)
        self._risk = np.zeros(rows, dtype=np.float32)
        self._latency_us = np.zeros(rows)
        self._decisions = 0
        self._unconfirmed = self._most_unconfirmed = 0
        self._completed = 0

    def complete(self, ticket: int, exit_: int) -> int:
        """All votes of a ticket at an exit are there; the rows learnt."""
        wanted = self._wanted[ticket]
        if wanted is None:
            wanted = self._wanted[ticket] = self._offered(ticket)
        if not wanted[exit_]:
            return 0
        rows = self.tickets[ticket]
        self._labels[rows, exit_] = self._told.labels[rows, exit_]
        self._confidence[rows, exit_] = self._told.confidence[rows, exit_]
        self._order[rows, exit_] = self._completed
        self._completed += 1
        if exit_ == self._last:
            return self._finish(ticket, rows)
        if exit_ > self._deepest[ticket]:
            self._deepest[ticket] = exit_
            if self._active()[exit_]:
                self._decide(ticket, rows, exit_)
            if self._any_forced:
                self._force(ticket, rows, exit_)
        return 0

    def _offered(self, ticket: int) -> np.ndarray:
        """Exits that the ticket asks for, bool [exits]."""
        rows = self.tickets[ticket]
        if self._stream.recorded:
            return np.asarray(self._told.order[rows][0] != NEVER_SEEN)
        shadow = self._settings.shadow_share > 0 and self._rng.random() < self._settings.shadow_share
        return np.ones(self._last + 1, dtype=bool) if shadow else self._active()

    def _active(self) -> np.ndarray:
        active = self._timed(self._tuner.active)
        active[self._last] = True
        return active

    def _decide(self, ticket: int, rows: np.ndarray | slice, exit_: int) -> None:
        open_ = self._open[rows]
        if self._options:
            open_ = open_ & ~self._told.never[rows]
        if not open_.any():
            return
        if not open_.all():
            rows = _numbers(rows)[open_]
        if self._settings.lossless:
            certain = self._stream.certain[rows] <= exit_
            if certain.any():
                self._freeze(ticket, _numbers(rows)[certain], exit_, Reason.LOSSLESS, 0.0)
                rows = _numbers(rows)[~certain]
                if not len(rows):
                    return
        q = float(self._told.q[_numbers(rows)[0]])
        view = View(self._labels[rows], self._confidence[rows], self._told.service_class[rows], q)
        leaves = self._timed(self._tuner.leaves, exit_, view)
        if not leaves.any():
            return
        risk = self._timed(self._tuner.risk, exit_, view.confidence[:, exit_], view.labels[:, exit_])
        if self._options:
            leaves = leaves & (risk < self._told.max_risk[rows])
        self._freeze(ticket, _numbers(rows)[leaves], exit_, Reason.EARLY, risk[leaves])

    def _force(self, ticket: int, rows: np.ndarray | slice, exit_: int) -> None:
        """Rows that a deadline or a fault forced out with this exit's vote leave with it here, too."""
        numbers = _numbers(rows)
        forced = numbers[self._open[rows] & (self._stream.forced[rows] == exit_)]
        for reason in (Reason.DEADLINE, Reason.DEGRADED):
            self._freeze(ticket, forced[self._told.reason[forced] == reason], exit_, reason, 0.0)

    def _freeze(self, ticket: int, rows: np.ndarray, exit_: int, reason: Reason, risk: np.ndarray | float) -> None:
        count = len(rows)
        if not count:
            return
        wanted = self._wanted[ticket]
        assert wanted is not None
        self._open[rows] = False
        self._exit[rows] = exit_
        self._reason[rows] = reason
        self._risk[rows] = risk
        self._version[rows] = self._tuner.version
        self._latency_us[rows] = self._price_us(wanted)[exit_]
        self._decided[rows] = np.arange(self._decisions, self._decisions + count)
        self._decisions += count
        if reason == Reason.EARLY:
            self._unconfirmed += count
            self._most_unconfirmed = max(self._most_unconfirmed, self._unconfirmed)
        answered = Answered(
            reason=self._reason[rows],
            exit=self._exit[rows],
            service_class=self._told.service_class[rows],
            q=self._told.q[rows],
            finishes=np.ones(count, dtype=bool),
            counted=~self._told.never[rows] & (self._reason[rows] <= Reason.LOSSLESS),
        )
        self._timed(self._tuner.answered, answered)

    def _finish(self, ticket: int, rows: np.ndarray | slice) -> int:
        numbers = _numbers(rows)
        self._freeze(ticket, numbers[self._open[rows]], self._last, Reason.FULL, 0.0)
        self._unconfirmed -= int((self._reason[rows] == Reason.EARLY).sum())
        feedback = Feedback(
            labels=self._labels[rows],
            confidence=self._confidence[rows],
            order=self._order[rows],
            answer=self._labels[numbers, self._exit[rows]],
            exit=self._exit[rows],
            reason=self._reason[rows],
            q=self._told.q[rows],
            service_class=self._told.service_class[rows],
            tuner_version=self._version[rows],
            max_risk=self._told.max_risk[rows],
            never=self._told.never[rows],
        )
        self._timed(self._tuner.learn, feedback)
        return len(numbers)

    def _price_us(self, wanted: np.ndarray) -> np.ndarray:
        """Latency of an answer at each exit where these exits are offered; float64 [exits]."""
        key = wanted.tobytes()
        if key not in self._prices_us:
            self._prices_us[key] = self._costs.latency_us(wanted)
        return self._prices_us[key]

    def _timed(self, call: Callable[..., _T], *told: Any) -> _T:
        start = time.perf_counter()
        given = call(*told)
        self.serving_s += time.perf_counter() - start
        return given

    def run(self, policy: str, jobs: Jobs) -> ReplayRun:
        return ReplayRun(
            policy=policy,
            exit=self._exit,
            reason=self._reason,
            version=self._version,
            decided=self._decided,
            risk=self._risk,
            latency_us=self._latency_us,
            most_unconfirmed_rows=self._most_unconfirmed,
            serving_s=self.serving_s,
            tuning_s=jobs.tuning_s,
            jobs=jobs.count,
            metrics=self._tuner.metrics(),
        )


def _compact(rows: np.ndarray) -> np.ndarray | slice:
    """Consecutive row numbers as a slice: views instead of copies."""
    first, count = int(rows[0]), len(rows)
    return slice(first, first + count) if int(rows[-1]) == first + count - 1 and (np.diff(rows) == 1).all() else rows


def _numbers(rows: np.ndarray | slice) -> np.ndarray:
    return np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
