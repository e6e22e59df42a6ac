"""One job beside serving: judge a candidate on later rows, or fit the next one. Runs in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO

import numpy as np

from exeunt.array_files import load_arrays, save_arrays
from exeunt.deciding.heads import Head, Pair
from exeunt.learning.files import heads_of, named_heads
from exeunt.learning.judge import Verdict, judge
from exeunt.learning.refit import refit
from exeunt.learning.rows import ServedRows
from exeunt.learning.vote_structure import VoteStructure

SEEN_ROWS = 512  # of the newest that were judged: the first calibration of an exit whose heads change


@dataclass(frozen=True, slots=True)
class Job:
    """What a job works on; a copy.

    Attributes:
        structure: of the bag.
        in_use: the head of every ramp that can learn.
        eps: the promised loss.
        seed: of the judge's resampling.
        cpu_s: processor time that it may take.
        rows: to judge by, where there is a candidate; else to fit to.
        weights: float32 [rows], what a row to fit to counts.
        candidate: heads to be judged; None: fit new ones.
    """

    structure: VoteStructure
    in_use: Mapping[Pair, Head]
    eps: float
    seed: int
    cpu_s: float
    rows: ServedRows
    weights: np.ndarray
    candidate: Mapping[Pair, Head] | None = None

    def save(self, file: IO[bytes]) -> None:
        """Write it for `load`."""
        head = {"shape": self.structure.to_json(), "eps": self.eps, "seed": self.seed, "cpu_s": self.cpu_s}
        arrays = {f"rows.{name}": array for name, array in self.rows.arrays().items()}
        arrays |= named_heads(self.in_use, "in_use.") | named_heads(self.candidate or {}, "candidate.")
        save_arrays(file, head, arrays | {"weights": self.weights})

    @classmethod
    def load(cls, file: IO[bytes]) -> Job:
        """Read what `save` wrote."""
        head, arrays = load_arrays(file)
        rows = {name.removeprefix("rows."): array for name, array in arrays.items() if name.startswith("rows.")}
        return cls(
            structure=VoteStructure.from_json(head["shape"]),
            in_use=heads_of(arrays, "in_use."),
            eps=head["eps"],
            seed=head["seed"],
            cpu_s=head["cpu_s"],
            rows=ServedRows.of(rows),
            weights=arrays["weights"],
            candidate=heads_of(arrays, "candidate.") or None,
        )


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job found.

    Attributes:
        heads: of a fit, the new heads; of a judgement, those that are to replace the ones in use. Perhaps none.
        judged_rows: rows that were judged by; 0 of a fit.
        gains: float64 [exits], see Verdict; empty of a fit.
        agreement: float64 [exits, 2], see Verdict; empty of a fit.
        labels, confidence: [rows, exits], what the exits say of the newest judged rows with `heads` in place.
        q: float32 [those rows].
        cpu_s: processor time that it took, the start of its process included.
        note: what to tell the operator, in a few words.
    """

    heads: Mapping[Pair, Head] = field(default_factory=dict)
    judged_rows: int = 0
    gains: np.ndarray = field(default_factory=lambda: np.zeros(0))
    agreement: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    labels: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int32))
    confidence: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    q: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    cpu_s: float = 0.0
    note: str = ""

    def save(self, file: IO[bytes]) -> None:
        """Write it for `load`."""
        head = {"judged_rows": self.judged_rows, "cpu_s": self.cpu_s, "note": self.note}
        arrays = {name: getattr(self, name) for name in ("gains", "agreement", "labels", "confidence", "q")}
        save_arrays(file, head, arrays | named_heads(self.heads, "heads."))

    @classmethod
    def load(cls, file: IO[bytes]) -> JobResult:
        """Read what `save` wrote.

        Raises:
            ValueError, KeyError, OSError, zipfile.BadZipFile: it is not whole.
        """
        head, arrays = load_arrays(file)
        head |= {name: arrays[name] for name in ("gains", "agreement", "labels", "confidence", "q")}
        return cls(heads=heads_of(arrays, "heads."), **head)


def run_job(job: Job, clock_s: Callable[[], float]) -> JobResult:
    """Do a job; `clock_s` gives the processor time used so far."""
    return _fit(job, clock_s) if job.candidate is None else _judge(job, job.candidate, clock_s)


def _fit(job: Job, clock_s: Callable[[], float]) -> JobResult:
    """New heads, one ramp after the other, the time shared among those that are left."""
    target = job.structure.full_vote(job.rows)
    order = np.random.default_rng(job.seed).permutation(len(job.in_use))  # none is always the last
    pairs = [sorted(job.in_use)[number] for number in order]
    heads, notes = {}, []
    for number, pair in enumerate(pairs):
        left_s = job.cpu_s - clock_s()
        until_s = clock_s() + left_s / (len(pairs) - number)
        fit = refit(job.in_use[pair], job.rows.features[pair], target, job.weights, clock_s=clock_s, until_s=until_s)
        if fit.head is not None:
            heads[pair] = fit.head
        notes.append(f"{pair[0]}.{pair[1]} {fit.before:.3f}->{fit.after:.3f} in {fit.steps}")
    note = f"fitted to {len(job.rows)} rows (cross-entropy, steps): {', '.join(sorted(notes))}"
    return JobResult(heads=heads, cpu_s=clock_s(), note=note)


def _judge(job: Job, candidate: Mapping[Pair, Head], clock_s: Callable[[], float]) -> JobResult:
    rng = np.random.default_rng(job.seed)
    verdict: Verdict = judge(job.structure, job.rows, job.in_use, candidate, job.eps, rng)
    heads = {pair: candidate[pair] for pair in verdict.pairs}
    latest = job.rows.rows(slice(-SEEN_ROWS, None))
    labels, confidence = job.structure.exit_votes(latest, {**job.in_use, **heads})
    return JobResult(
        heads=heads,
        judged_rows=len(job.rows),
        gains=verdict.gains,
        agreement=verdict.agreement,
        labels=labels,
        confidence=confidence,
        q=latest.q,
        cpu_s=clock_s(),
        note=f"judged on {len(job.rows)} rows: {len(heads)} of {len(candidate)} ramps are better",
    )
