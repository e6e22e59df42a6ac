"""The learner: what is kept between jobs, and when the next job is due. Pure: time is an argument in microseconds.

A candidate is a set of new heads. One job fits it; a later job judges it, only by rows that came after those it was
fitted to, and it is then put in use or dropped. Processor time has a budget: it grows by `cpu_share` of a core as time
passes, and each job's own time is subtracted. So over any time jobs take at most that share, plus ADVANCE_CPU_S, plus
what was saved before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from exeunt.deciding.heads import EXPORTED, Head, Heads, Pair
from exeunt.learning.job import Job, JobResult
from exeunt.learning.reservoir import LatestRows, Reservoir
from exeunt.learning.rows import ServedRows
from exeunt.learning.vote_structure import VoteStructure

FIRST_ROWS = 256  # to fit to
BETWEEN_ROWS = 128  # new ones between two fits
JUDGE_ROWS = 256  # later rows before a candidate is judged, and between two judgements
LATEST_ROWS = 1024  # of them; a candidate that has not proved itself on so many is dropped
LEARN_ROWS = 2048  # in the reservoir, where the bytes allow
LATEST_SHARE = 0.25  # of the bytes
ADVANCE_CPU_S = 2.0  # at the start: so that a new server need not save up for its first fit
FIRST_ROW_CPU_S = 0.004  # what a job is taken to need for a row before one has run
MOST_CPU_S = 20.0  # that can be saved up, and so the longest job


@dataclass(frozen=True, slots=True)
class Bounds:
    """What learning may use.

    Attributes:
        most_bytes: of rows in memory.
        most_age_us: of a row.
        cpu_share: of one core, over time.
    """

    most_bytes: int
    most_age_us: int
    cpu_share: float


@dataclass(frozen=True, slots=True)
class Change:
    """New heads to serve with, and what is known of the exits with them.

    Attributes:
        labels, confidence: [rows, exits], what the exits would have said of rows served of late; the last label is
            that of the full vote. Without rows nothing is known.
        q: float32 [rows].
    """

    heads: Heads
    labels: np.ndarray
    confidence: np.ndarray
    q: np.ndarray

    @classmethod
    def unknown(cls, heads: Heads, exits: int) -> Change:
        """Heads of which nothing is known yet."""
        nothing = np.zeros((0, exits))
        return cls(heads, nothing.astype(np.int32), nothing.astype(np.float32), np.zeros(0, dtype=np.float32))


class Learner:
    """Rows in, jobs out, outcomes in, changes out.

    Args:
        structure: of the bag.
        exported: the exported head of every ramp that can learn.
        bounds: what may be used.
        classes: number of classes.
        seed: of the jobs.

    Attributes:
        heads: in use.
        previous: those before; None where there are none.
        frozen: no jobs.
        cpu_s: processor time that jobs took, all together.
    """

    def __init__(
        self, structure: VoteStructure, exported: Mapping[Pair, Head], bounds: Bounds, classes: int, seed: int = 0
    ) -> None:
        self.structure = structure
        self.heads: Heads = EXPORTED
        self.previous: Heads | None = None
        self.frozen = False
        self.cpu_s = 0.0
        self._exported = dict(exported)
        self._bounds = bounds
        latest = int(LATEST_SHARE * bounds.most_bytes)
        self._reservoir = Reservoir(LEARN_ROWS, bounds.most_bytes - latest, bounds.most_age_us, classes)
        self._latest = LatestRows(LATEST_ROWS, latest, bounds.most_age_us)
        self._candidate: Mapping[Pair, Head] | None = None
        self._judge_from = 0  # number of the first row after those that the candidate was fitted to
        self._judged_at = 0
        self._fitted_at = 0
        self._next_number = 0
        self._balance_s = ADVANCE_CPU_S
        self._at_us: int | None = None
        self._row_cpu_s = {"fit": FIRST_ROW_CPU_S, "judge": FIRST_ROW_CPU_S / 2}
        self._out: tuple[str, int] | None = None  # kind and rows of the job that is out
        self._seed = seed
        self._counts = dict.fromkeys(("fits", "judgements", "changes", "failures"), 0)
        self._gain = 0.0

    def add(self, rows: ServedRows) -> None:
        """Take in finished rows, oldest first; their numbers are given here."""
        numbers = self._next_number + np.arange(len(rows), dtype=np.int64)
        self._next_number += len(rows)
        rows = replace(rows, numbers=numbers)
        self._reservoir.add(rows)
        self._latest.add(rows)

    def pass_time(self, now_us: int) -> None:
        """Earn processor time and wipe rows that are too old."""
        if self._at_us is not None:
            self._balance_s += self._bounds.cpu_share * (now_us - self._at_us) / 1e6
            self._balance_s = min(self._balance_s, MOST_CPU_S)
        self._at_us = now_us
        self._reservoir.prune(now_us)
        self._latest.prune(now_us)

    def job(self, eps: float) -> Job | None:
        """The next job if one is due and paid for, else None; at most one is out at a time.

        Args:
            eps: the promised loss.
        """
        if self.frozen or self._out is not None or not self._exported:
            return None
        if self._candidate is None:
            return self._fit(eps) if self._affords("fit", len(self._reservoir)) else None
        return self._judge(eps) if self._affords("judge", self._latest.since(self._judge_from)) else None

    def _affords(self, kind: str, rows: int) -> bool:
        return self._balance_s >= min(self._row_cpu_s[kind] * rows, MOST_CPU_S / 2)

    def _fit(self, eps: float) -> Job | None:
        new = self._next_number - self._fitted_at
        if len(self._reservoir) < FIRST_ROWS or new < BETWEEN_ROWS:
            return None
        rows = self._reservoir.rows()
        assert rows is not None
        self._fitted_at = self._judge_from = self._judged_at = self._next_number
        return self._job(eps, rows, self._reservoir.weights(rows.labels))

    def _judge(self, eps: float) -> Job | None:
        if self._next_number - self._judged_at < JUDGE_ROWS:
            return None
        rows = self._latest.rows(self._judge_from)
        if rows is None:
            return None
        self._judged_at = self._next_number
        return self._job(eps, rows, np.zeros(0, dtype=np.float32), self._candidate)

    def _job(
        self, eps: float, rows: ServedRows, weights: np.ndarray, candidate: Mapping[Pair, Head] | None = None
    ) -> Job:
        self._seed += 1
        self._out = ("fit" if candidate is None else "judge", len(rows))
        in_use = self._exported | dict(self.heads.table)
        return Job(self.structure, in_use, eps, self._seed, self._balance_s, rows, weights, candidate)

    def finished(self, outcome: JobResult) -> Change | None:
        """A job has ended; the heads to serve with from now on, if they change."""
        kind = self._pay(outcome.cpu_s)
        if kind == "fit":
            self._counts["fits"] += 1
            self._candidate = dict(outcome.heads) or None
            return None
        self._counts["judgements"] += 1
        if not outcome.heads or self._candidate is None:  # a command of the operator may have come between
            used_up = self._next_number - self._judge_from >= LATEST_ROWS
            self._candidate = None if used_up else self._candidate
            return None
        self._gain = float(np.nanmax(outcome.gains))
        heads = self._replaced(dict(self.heads.table) | dict(outcome.heads))
        return Change(heads, outcome.labels, outcome.confidence, outcome.q)

    def failed(self, cpu_s: float) -> None:
        """A job came to nothing; its candidate, if any, goes with it."""
        self._pay(cpu_s)
        self._counts["failures"] += 1
        self._candidate = None

    def _pay(self, cpu_s: float) -> str:
        """The job that was out has taken so much processor time; its kind."""
        assert self._out is not None
        (kind, rows), self._out = self._out, None
        self.cpu_s += cpu_s
        self._balance_s -= cpu_s
        self._row_cpu_s[kind] = cpu_s / max(1, rows)
        return kind

    def replace(self, table: Mapping[Pair, Head]) -> Change:
        """Serve with these heads from now on, because an operator says so."""
        return Change.unknown(self._replaced(dict(table)), len(self.structure.exit_depths))

    def _replaced(self, table: dict[Pair, Head]) -> Heads:
        """Heads of the next version; a candidate, which began with the old ones, is void."""
        table = {pair: head for pair, head in table.items() if head is not self._exported.get(pair)}
        self.previous, self.heads = self.heads, Heads(self.heads.version + 1, table)
        self._candidate = None
        self._counts["changes"] += 1
        return self.heads

    def rows(self) -> ServedRows | None:
        """A copy of the rows in the reservoir, for who may keep them."""
        return self._reservoir.rows()

    def metrics(self) -> dict[str, float]:
        """Numbers for operators; those ending in `_total` only grow."""
        return {
            "version": float(self.heads.version),
            "rows": float(len(self._reservoir)),
            "latest_rows": float(len(self._latest)),
            "candidate": float(self._candidate is not None),
            "frozen": float(self.frozen),
            "last_gain": self._gain,
            "cpu_seconds_total": self.cpu_s,
        } | {f"{name}_total": float(count) for name, count in self._counts.items()}
