"""The stream through the decision core and the learner, row by row, without a server: what a quiet machine would show.

Latencies are those of the bag's profile (exeunt.manifest.Costs), full votes come one row later, jobs are done at once;
time passes at a stated rate, so that learning has the processor time that its share of a core would give it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from exeunt.contract import CALIBRATION_FILE
from exeunt.deciding import votes
from exeunt.deciding.batch import Batch
from exeunt.deciding.calibration import load_calibration
from exeunt.deciding.decisions import Decisions
from exeunt.deciding.heads import Head, Heads, Pair
from exeunt.learning.job import run_job
from exeunt.learning.learner import Bounds, Change, Learner
from exeunt.learning.rows import ServedRows
from exeunt.learning.vote_structure import VoteStructure
from exeunt.manifest import Manifest
from exeunt.records.feedback import Feedback
from exeunt.tuning.registry import make_tuner
from exeunt.tuning.tuner import Setup

GATHERED_ROWS = 16  # rows that the learner gets at a time
PROCESS_CPU_S = 0.15  # what starting a job's process takes


@dataclass(frozen=True, slots=True)
class Course:
    """What became of a stream.

    Attributes:
        latency: float64 [rows], share of the full ensemble's.
        exit: int64 [rows].
        lost: bool [rows], the answer was not the full vote's.
        changes: row after which heads changed -> the new ones.
        cpu_s: processor time that learning took.
    """

    latency: np.ndarray
    exit: np.ndarray
    lost: np.ndarray
    changes: dict[int, Heads]
    cpu_s: float

    def heads_after(self, rows: int) -> Mapping[Pair, Head]:
        """What had been learnt after so many rows."""
        tables = [heads.table for row, heads in self.changes.items() if row <= rows]
        return tables[-1] if tables else {}


class _Run:
    """One pass along the stream; `cpu_share` 0 learns nothing."""

    def __init__(
        self, manifest: Manifest, folder: Path, exported: Mapping[Pair, Head], rows: ServedRows, cpu_share: float
    ) -> None:
        self._manifest, self._rows, self._exported = manifest, rows, dict(exported)
        self._structure = VoteStructure.of(manifest)
        self._costs = manifest.costs()
        self._exits = len(manifest.exits)
        self._rng = np.random.default_rng(manifest.settings.seed)
        calibration = load_calibration(folder / CALIBRATION_FILE, manifest)
        self._tuner = make_tuner(Setup(self._costs, manifest.settings, calibration, manifest.settings.seed))
        self._decisions = Decisions(manifest.settings, self._exits, self._tuner, lambda batch, some, q: None)
        bounds = Bounds(int(1e6 * manifest.settings.learn_memory_mb), 10**12, cpu_share)
        self._learner = Learner(self._structure, exported, bounds, manifest.classes)
        self._learner.frozen = not cpu_share
        self._certain = self._first_certain()
        self._first_vote_row = 0
        self._labels, self._confidence = self._structure.exit_votes(rows, self._exported)

    def _first_certain(self) -> np.ndarray:
        """First exit at which the lossless stop holds, the last where none does before; int64 [rows]."""
        final = np.exp(self._rows.logs.astype(np.float32))
        first = np.full(len(self._rows), self._exits - 1)
        for exit_ in range(self._exits - 2, -1, -1):
            voters = votes.ExitVoters(self._manifest, exit_)
            if voters.finished:
                arrays = [final[:, member] for member, _ in voters.finished]
                sure = votes.cannot_change(arrays, voters.finished_weights, voters.missing, self._manifest.vote)
                first[sure] = exit_
        return first

    def decide(self, row: int) -> tuple[float, int, bool]:
        """Latency, exit and loss of a row."""
        shadow = self._rng.random() < self._manifest.settings.shadow_share
        active_exits = np.ones(self._exits, dtype=bool) if shadow else self._decisions.active()
        one, version = np.zeros(1), self._decisions.in_use.heads.version
        batch = Batch(row, self._exits, one > 0, (one + np.inf).astype(np.float32), one.astype(np.int16), True, version)
        place = row - self._first_vote_row
        for exit_ in np.flatnonzero(active_exits).tolist():
            certain = np.array([self._certain[row] <= exit_])
            vote = self._labels[place, exit_ : exit_ + 1], self._confidence[place, exit_ : exit_ + 1]
            self._decisions.complete(batch, exit_, votes.ExitVotes(*vote, None, lambda some, sure=certain: sure))
        if (job := self._decisions.changes.retune()) is not None:
            self._decisions.changes.adopt(job())
        answer_exit = int(batch.exit[0])
        latency = self._costs.latency_us(active_exits)[answer_exit] / self._costs.elapsed_us[-1]
        return float(latency), answer_exit, bool(batch.answer[0] != self._labels[place, -1])

    def learn(self, until: int, rate_per_s: float) -> bool:
        """Take in the latest rows, do what is due; True where heads changed."""
        self._learner.add(self._rows.rows(slice(until - GATHERED_ROWS, until)))
        self._learner.pass_time(int(1e6 * until / rate_per_s))
        job = self._learner.job(self._manifest.settings.max_loss)
        if job is None:
            return False
        began_s = time.process_time() - PROCESS_CPU_S
        change = self._learner.finished(run_job(job, lambda: time.process_time() - began_s))
        if change is not None:
            self._change(change, until)
        return change is not None

    def _change(self, change: Change, first: int) -> None:
        depths = [exit_.depths for exit_ in self._manifest.exits]
        changed = change.heads.exits(depths, self._decisions.in_use.heads)
        feedback = replace(Feedback.observed(change.labels, change.confidence), q=change.q)
        self._decisions.changes.set_heads(change.heads, changed, feedback)
        self._first_vote_row = first
        rows_ahead = self._rows.rows(slice(first, None))
        self._labels, self._confidence = self._structure.exit_votes(
            rows_ahead, self._exported | dict(change.heads.table)
        )

    @property
    def heads(self) -> Heads:
        return self._decisions.in_use.heads

    @property
    def cpu_s(self) -> float:
        return self._learner.cpu_s


def course(
    manifest: Manifest,
    folder: Path,
    exported: Mapping[Pair, Head],
    rows: ServedRows,
    *,
    cpu_share: float,
    rate_per_s: float,
) -> Course:
    """Answer a stream.

    Args:
        manifest: of the bag.
        folder: its version folder.
        exported: heads of the ramps that can learn.
        rows: the stream.
        cpu_share: share of a core that learning may take; 0 = ramps stay as exported.
        rate_per_s: at which rows come.
    """
    run = _Run(manifest, folder, exported, rows, cpu_share)
    latency, exits, lost = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=bool)
    changes: dict[int, Heads] = {}
    for row in range(len(rows)):
        latency[row], exits[row], lost[row] = run.decide(row)
        row_count = row + 1
        if cpu_share and row_count % GATHERED_ROWS == 0 and row_count < len(rows) and run.learn(row_count, rate_per_s):
            changes[row_count] = run.heads
    return Course(latency, exits, lost, changes, run.cpu_s)
