"""A bag in memory, its votes, and the Controller driven along a stream's arrivals: what replay is held against."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.comparison.made_stream import made_stream
from exeunt.contract import votes_name
from exeunt.deciding import votes
from exeunt.deciding.calibration import exits_of
from exeunt.deciding.controller import Controller
from exeunt.deciding.request import ParsedOptions, Request
from exeunt.manifest import Exit, Manifest, Member, Segment, Tensor
from exeunt.records.feedback import Feedback
from exeunt.replay.stream import VoteStream, completed_exits, tickets_of
from exeunt.settings import Settings
from exeunt.tuning.registry import make_tuner
from exeunt.tuning.tuner import Setup, Tuner

CLASSES = 5
Votes = dict[tuple[int, int], np.ndarray]


def manifest(**settings: Any) -> Manifest:
    """Two members; the first has finished at exit 2, so that the lossless stop can strike there; exit 3 is the last."""
    x = Tensor("x", "float32", (2,))
    depths = ((1, 1), (2, 1), (2, 2), (2, 3))
    members = tuple(
        Member(name, weight, tuple(Segment(f"{name}{d}", (x,), (x,), None, {1: 1.0}) for d in range(1, n + 1)), None)
        for name, weight, n in (("quick", 2.0, 2), ("slow", 1.0, 3))
    )
    exits = tuple(Exit(depth, None, {1: 100.0 * (e + 1)}, {1: 2.0}, 0.9) for e, depth in enumerate(depths))
    labels = tuple(map(str, range(CLASSES)))
    bag_settings = Settings(**({"max_tickets": 10_000, "max_waiting_rows": 10_000} | settings))
    return Manifest("bag", "ensemble", "soft", "parallel", (x,), labels, 8, members, exits, bag_settings, "")


def votes_of(bag: Manifest, rows: int, seed: int) -> Votes:
    """Probabilities of every member at every depth; deeper ones know more. float32 [rows, CLASSES]."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((rows, CLASSES)) * rng.uniform(0.3, 3.0, (rows, 1))
    table = {}
    for member, votes_ in enumerate(bag.members):
        for depth in range(1, votes_.depth + 1):
            scores = np.exp(2 * truth + 3.0 * (1.1 - depth / votes_.depth) * rng.standard_normal((rows, CLASSES)))
            table[member, depth] = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    return table


def feedback_of(bag: Manifest, bag_votes: Votes) -> Feedback:
    return exits_of({votes_name(bag.members[m].name, d): votes_ for (m, d), votes_ in bag_votes.items()}, bag)


def with_rows(stream: VoteStream, rows: Feedback) -> VoteStream:
    """The stream with other votes and options of its rows."""
    return dataclasses.replace(stream, decided=dataclasses.replace(stream.decided, rows=rows))


def certain_from(bag: Manifest, bag_votes: Votes) -> np.ndarray:
    """First exit at which the lossless stop holds; int32 [rows]."""
    last = len(bag.exits) - 1
    first = np.full(len(bag_votes[0, 1]), last, dtype=np.int32)
    for exit_ in range(last - 1, -1, -1):
        parts = votes.ExitVoters(bag, exit_)
        if parts.finished:
            finished_votes = [bag_votes[pair] for pair in parts.finished]
            first[votes.cannot_change(finished_votes, parts.finished_weights, parts.missing, bag.vote)] = exit_
    return first


def stream_of(bag: Manifest, bag_votes: Votes, seed: int = 0, late_rows: int = 16) -> VoteStream:
    feedback = feedback_of(bag, bag_votes)
    return made_stream(
        "made", feedback.labels, feedback.confidence, certain_from(bag, bag_votes), late_rows=late_rows, seed=seed
    )


def tuner_of(bag: Manifest, calibration_seed: int = 99) -> Tuner:
    return make_tuner(Setup(bag.costs(), bag.settings, feedback_of(bag, votes_of(bag, 300, calibration_seed)), 0))


class Live:
    """A Controller driven along a stream's arrivals, as a server would; jobs are adopted after `lag` events."""

    def __init__(self, bag: Manifest, tuner: Tuner, lag_events: Callable[[], int] = lambda: 0, seed: int = 0) -> None:
        self.controller = Controller(bag, tuner, np.random.default_rng(seed))
        self.feedback: list[Feedback] = []
        self.controller.decisions.on_feedback.append(self.feedback.append)
        self._lag_events = lag_events

    def serve(
        self,
        stream: VoteStream,
        bag_votes: Votes,
        options: Callable[[int], ParsedOptions] = lambda ticket: ParsedOptions(),
    ) -> None:
        tickets = tickets_of(stream)
        ids: dict[int, int] = {}
        outcome: Any = None
        due = -1
        for event in completed_exits(stream):
            rows = tickets[event.ticket]
            if event.ticket not in ids:
                self.controller.offer(Request(event.ticket, len(rows), options(event.ticket)), 0)
                admitted = self.controller.next_ticket()
                assert admitted is not None
                ids[event.ticket] = admitted.id
            depths = self.controller.manifest.exits[event.exit].depths
            arriving = {(m, d): bag_votes[m, d][rows] for m, d in enumerate(depths) if d}
            self.controller.arrived(ids[event.ticket], arriving, 0)
            if due < 0:
                job = self.controller.decisions.changes.retune()
                if job is not None:
                    outcome, due = job(), self._lag_events()
            if due == 0:
                self.controller.decisions.changes.adopt(outcome)
            due = max(-1, due - 1)

    @property
    def learnt(self) -> Feedback:
        return Feedback.joined(self.feedback)


def by_row(stream: VoteStream, learnt: Feedback, column: str) -> np.ndarray:
    """A column of `learnt`, which is in the order of finishing, in the stream's row order."""
    values = getattr(learnt, column)
    out = np.empty_like(values)
    by_end = sorted(tickets_of(stream).values(), key=lambda rows: stream.rows.order[rows[0], -1])
    out[np.concatenate(by_end)] = values
    return out
