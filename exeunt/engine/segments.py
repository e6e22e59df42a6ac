"""What a worker does with a run: feed the segment, hand its outputs back to the pieces; and the heads of an exit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from exeunt.contract import features_name, votes_name
from exeunt.engine.progress import Piece, Progress, SegmentRun
from exeunt.engine.sessions import Session
from exeunt.manifest import Manifest, Segment

Votes = dict[tuple[int, int], np.ndarray]  # (member, depth) -> float32 [rows, classes]


@dataclass(frozen=True, slots=True)
class ArrivedVotes:
    """The votes of one exit of one ticket, for the controller.

    Attributes:
        progress: the ticket's.
        votes: of every member that votes there.
        rows: indices of the ticket's rows that are given; None = all.
    """

    progress: Progress
    votes: Votes
    rows: np.ndarray | None


class Step:
    """One segment as the engine runs it.

    Attributes:
        session: its model.
        public: inputs that are the bag's own.
        hidden: inputs that an earlier segment of the member made.
        outputs: what a run asks for, FEATURES or PROBABILITIES first.
        tells: the first output is FEATURES or PROBABILITIES, not a cut tensor.
        cut: the cut tensors alone, which is what a run asks for that goes on at once.
        keeps: hidden tensors, old and new, that later segments take.
    """

    def __init__(self, manifest: Manifest, segments: Sequence[Segment], depth: int, session: Session) -> None:
        segment = segments[depth]
        public = {input_.name for input_ in manifest.inputs}
        last = depth == len(segments) - 1
        later = {input_.name for rest in segments[depth + 1 :] for input_ in rest.inputs}
        self.session = session
        self.public = [input_.name for input_ in segment.inputs if input_.name in public]
        self.hidden = [input_.name for input_ in segment.inputs if input_.name not in public]
        cut = [output.name for output in segment.outputs]
        votes = cut if last else ([segment.features.name] if segment.features else [])
        self.tells = bool(votes)
        self.cut = [name for name in cut if name in later]
        self.outputs = votes if last else votes + self.cut
        self.keeps = later - public

    def run(self, tensors: Mapping[str, np.ndarray], outputs: list[str]) -> dict[str, np.ndarray]:
        """Run the model with those of `tensors` that it takes; its outputs by name.

        Raises:
            ServingError: the model failed.
        """
        feed = {name: tensors[name] for name in (*self.public, *self.hidden)}
        return dict(zip(outputs, self.session.run(outputs, feed), strict=True))


class Segments:
    """All segments and heads of a bag."""

    def __init__(self, manifest: Manifest, sessions: Mapping[str, Session]) -> None:
        self._steps = [
            [Step(manifest, m.segments, depth, sessions[segment.model]) for depth, segment in enumerate(m.segments)]
            for m in manifest.members
        ]
        self._final = {(number, member.depth) for number, member in enumerate(manifest.members)}
        self.learns: frozenset[tuple[int, int]] = frozenset()  # ramps whose features are kept, asked for or not
        self._exits = [self._parts(manifest, exit_.depths) for exit_ in manifest.exits]
        self._heads = [sessions[exit_.heads] if exit_.heads else None for exit_ in manifest.exits]
        self._names = {
            (number, depth): (features_name(member.name, depth), votes_name(member.name, depth))
            for number, member in enumerate(manifest.members)
            for depth in range(1, member.depth + 1)
        }

    @staticmethod
    def _parts(manifest: Manifest, depths: tuple[int, ...]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(member, depth) of the members that have finished at an exit, and of those that are mid-way."""
        voting = [(number, depth) for number, depth in enumerate(depths) if depth]
        finished = [pair for pair in voting if pair[1] == manifest.members[pair[0]].depth]
        return finished, [pair for pair in voting if pair not in finished]

    def run(self, run: SegmentRun) -> None:
        """Run a segment, or the rest of a member, for its pieces; keep what they and their exits need of its outputs.

        Raises:
            ServingError: the model failed; no piece has changed.
        """
        pieces = run.pieces
        for piece in pieces:
            piece.narrow()
        steps = self._steps[run.member][run.depth : run.end]
        public = {name: _joined([_public(piece, name) for piece in pieces]) for step in steps for name in step.public}
        present = pieces[0].tensors.keys() & {name for step in steps for name in step.hidden}
        hidden = {name: _joined([piece.tensors[name] for piece in pieces]) for name in present}
        for step in steps[:-1]:
            hidden |= step.run({**public, **hidden}, step.cut)
            hidden = {name: array for name, array in hidden.items() if name in step.keeps}
        step = steps[-1]
        outputs = step.run({**public, **hidden}, step.outputs)
        first = 0
        for piece in pieces:
            rows = slice(first, first + len(piece))
            first = rows.stop
            piece_outputs = outputs if len(pieces) == 1 else {name: array[rows] for name, array in outputs.items()}
            self._hand_out(step, piece, (run.member, run.end), piece_outputs)

    def full_votes(self, inputs: Mapping[str, np.ndarray]) -> Votes:
        """Every member's final vote on `inputs` (by name, [rows, ...]), one member after the other.

        Raises:
            ServingError: a model failed.
        """
        votes: Votes = {}
        for member, steps in enumerate(self._steps):
            tensors = dict(inputs)
            for step in steps[:-1]:
                tensors |= step.run(tensors, step.cut)
            last = steps[-1]
            votes[member, len(steps)] = last.run(tensors, last.outputs)[last.outputs[0]]
        return votes

    def _hand_out(self, step: Step, piece: Piece, pair: tuple[int, int], table: Mapping[str, np.ndarray]) -> None:
        if step.tells and (pair in piece.progress.plan.pairs or pair in self.learns):
            piece.progress.votes.setdefault(pair, []).append((piece.rows, table[step.outputs[0]]))
        tensors = {name: array for name, array in piece.tensors.items() if name in step.keeps}
        piece.tensors = tensors | {name: array for name, array in table.items() if name in step.keeps}

    def features_and_votes(self, progress: Progress) -> Votes | None:
        """What ramps learn from a finished ticket: the features of `learns` and the final votes, [rows, ...].

        None where some are missing: a plain ticket that runs a whole member at once makes no features.
        """
        pairs = self._final | self.learns
        if not pairs <= progress.votes.keys():
            return None
        return {pair: progress.votes_of(*pair, None) for pair in pairs}

    def votes(self, exit_: int, tickets: Sequence[Progress]) -> list[ArrivedVotes]:
        """Votes at one exit for tickets that have reached it; tickets in which nothing runs any more are left out.

        Raises:
            ServingError: the heads' model failed.
        """
        finished, midway = self._exits[exit_]
        arrived = [
            ArrivedVotes(progress, {}, rows) for progress in tickets for runs, rows in [_running(progress)] if runs
        ]
        for ticket_votes in arrived:
            for pair in finished:
                ticket_votes.votes[pair] = ticket_votes.progress.votes_of(*pair, ticket_votes.rows)
        if (heads := self._heads[exit_]) is not None:
            by_heads: dict[int, list[ArrivedVotes]] = {}
            for ticket_votes in arrived:
                by_heads.setdefault(ticket_votes.progress.ticket.heads.version, []).append(ticket_votes)
            for same in by_heads.values():
                self._run_heads(heads, midway, same)
        return arrived

    def _run_heads(self, session: Session, midway: list[tuple[int, int]], arrived: list[ArrivedVotes]) -> None:
        """Votes of the members mid-way, by heads that are the same for all of `arrived`."""
        feed = {
            self._names[pair][0]: _joined(
                [ticket_votes.progress.votes_of(*pair, ticket_votes.rows) for ticket_votes in arrived]
            )
            for pair in midway
        }
        table = arrived[0].progress.ticket.heads.table
        for pair in midway if table else ():
            if (head := table.get(pair)) is not None:
                feed[f"{self._names[pair][1]}.weight"], feed[f"{self._names[pair][1]}.bias"] = head.weight, head.bias
        outputs = session.run([self._names[pair][1] for pair in midway], feed)
        first = 0
        for ticket_votes in arrived:
            stop = first + (ticket_votes.progress.ticket.rows if ticket_votes.rows is None else len(ticket_votes.rows))
            for pair, array in zip(midway, outputs, strict=True):
                ticket_votes.votes[pair] = array[first:stop]
            first = stop


def _running(progress: Progress) -> tuple[bool, np.ndarray | None]:
    """Whether any row of a ticket runs, and which; None = all."""
    if progress.ticket.rows == 1:
        return progress.runs(), None
    running = progress.ticket.running
    if running.all():
        return True, None
    rows = np.flatnonzero(running)
    return bool(len(rows)), rows


def _public(piece: Piece, name: str) -> np.ndarray:
    tensor = piece.progress.inputs[name]
    return tensor if piece.rows is None else tensor[piece.rows]


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
