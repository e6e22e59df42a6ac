"""The answers that one policy gave to a stream, and how good they are: latency, loss, worst window, the promise."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from exeunt.contract import Reason
from exeunt.manifest import Costs
from exeunt.records.decided import DecidedRows
from exeunt.records.feedback import promise_counts
from exeunt.replay.stream import VoteStream

WINDOW_ROWS = 1000


@dataclass(frozen=True, slots=True)
class ReplayRun:
    """The answers that a policy gave to the rows of a stream.

    Attributes:
        policy: name for tables.
        exit: int32 [rows], exit that answered, -1 where none did.
        reason: int8 [rows], a Reason.
        version: int64 [rows], the tuner's version at the decision; 0 for policies without one.
        decided: int64 [rows], moment of the decision.
        risk: float32 [rows], estimated probability of a loss at release; 0 for full and lossless.
        latency_us: float64 [rows], by the bag's costs, heads of the offered exits included; NaN without an answer.
        most_unconfirmed_rows: most early rows that awaited their full vote at once.
        serving_s: time spent in the tuner's calls on the serving path.
        tuning_s: time spent in its jobs beside serving.
        jobs: number of those jobs.
        metrics: the tuner's own numbers at the end.
    """

    policy: str
    exit: np.ndarray
    reason: np.ndarray
    version: np.ndarray
    decided: np.ndarray
    risk: np.ndarray
    latency_us: np.ndarray
    most_unconfirmed_rows: int = 0
    serving_s: float = 0.0
    tuning_s: float = 0.0
    jobs: int = 0
    metrics: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, policy: str, decided: DecidedRows, latency_us: np.ndarray) -> ReplayRun:
        """The run of decided rows, in their order; nothing is known of the tuner's time."""
        return cls(
            policy=policy,
            exit=decided.rows.exit,
            reason=decided.rows.reason,
            version=decided.rows.tuner_version,
            decided=decided.decided,
            risk=decided.risk,
            latency_us=latency_us,
            most_unconfirmed_rows=most_unconfirmed(decided),
        )


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """One line of a comparison. Latencies are shares of the plain ensemble's, losses are shares of rows.

    Attributes:
        stream: name.
        policy: name.
        max_loss: the promise it is judged by.
        rows: rows that the promise counts.
        mean_latency: mean latency share.
        median_latency: median latency share.
        loss: share of rows whose label is not the full vote's.
        worst_window: highest loss over any WINDOW_ROWS rows in a row.
        expected_loss: mean estimated risk, what the policy believed the loss to be.
        excess_rows: most losses above max_loss * T after any number T of answers; negative if always below.
        violations: numbers T of answers after which losses exceeded max_loss * T + P, P = most_unconfirmed_rows.
        answers: share of rows answered per exit.
        early: share of rows that left early on trust; `lossless`: without risk.
        most_unconfirmed_rows: most early rows awaiting their full vote at once.
        serving_us_per_row: the tuner's time on the serving path.
        tuning_ms_per_job: mean time of a job beside serving; `jobs`: their number.
    """

    stream: str
    policy: str
    max_loss: float
    rows: int
    mean_latency: float
    median_latency: float
    loss: float
    worst_window: float
    expected_loss: float
    excess_rows: float
    violations: int
    answers: list[float]
    early: float
    lossless: float
    most_unconfirmed_rows: int
    serving_us_per_row: float
    tuning_ms_per_job: float
    jobs: int
    metrics: dict[str, float]


def result_of(
    stream: VoteStream, run: ReplayRun, costs: Costs, max_loss: float, service_class: int | None = None, label: str = ""
) -> ReplayResult:
    """Judge a run.

    Args:
        stream: what was replayed.
        run: what was answered.
        costs: latency of the exits; the plain ensemble has no heads, so its latency is elapsed_us of the last exit.
        max_loss: the promise that was to be kept.
        service_class: judge the rows of this class alone, since each class has a promise of its own; None = all rows.
        label: the policy in the result; the run's where empty.
    """
    counted = promise_counts(stream.rows.never, stream.decided.non_finite.any(axis=1), run.reason)
    counted &= (run.exit >= 0) & stream.finished
    if service_class is not None:
        counted &= stream.rows.service_class == service_class
    lost = losses_of(stream, run)[counted]
    share = run.latency_us[counted] / costs.elapsed_us[-1]
    rows = len(lost)
    over = excess(lost[np.argsort(run.decided[counted], kind="stable")], max_loss)
    reason = run.reason[counted]
    return ReplayResult(
        stream=stream.name,
        policy=label or run.policy,
        max_loss=max_loss,
        rows=rows,
        mean_latency=float(share.mean()),
        median_latency=float(np.median(share)),
        loss=float(lost.mean()),
        worst_window=worst_window(lost),
        expected_loss=float(run.risk[counted].mean()),
        excess_rows=float(over.max()),
        violations=int((over > run.most_unconfirmed_rows + 1e-9 * rows).sum()),
        answers=(np.bincount(run.exit[counted], minlength=stream.exits) / rows).tolist(),
        early=float((reason == Reason.EARLY).mean()),
        lossless=float((reason == Reason.LOSSLESS).mean()),
        most_unconfirmed_rows=run.most_unconfirmed_rows,
        serving_us_per_row=1e6 * run.serving_s / len(stream),  # the time is of all rows, those of other classes too
        tuning_ms_per_job=1e3 * run.tuning_s / run.jobs if run.jobs else 0.0,
        jobs=run.jobs,
        metrics=run.metrics,
    )


def losses_of(stream: VoteStream, run: ReplayRun) -> np.ndarray:
    """True where a row's released label is not the full vote's; bool [rows]."""
    return np.asarray(stream.wrong[np.arange(len(stream)), run.exit])


def most_unconfirmed(decided: DecidedRows) -> int:
    """Most early rows that awaited their full vote at the same time (P)."""
    early = np.flatnonzero((decided.rows.reason == Reason.EARLY) & decided.finishes)
    moments = np.concatenate([decided.decided[early], decided.ended[early]])
    steps = np.repeat([1, -1], len(early))
    return int(np.cumsum(steps[np.lexsort([-steps, moments])]).max(initial=0))


def worst_window(lost: np.ndarray, window_rows: int = WINDOW_ROWS) -> float:
    """Highest share of losses over any `window_rows` rows in a row; over all rows where there are fewer.

    >>> worst_window(np.array([True, False, True, False, False]), window_rows=2)
    0.5
    """
    window_rows = min(window_rows, len(lost))
    summed = np.concatenate([[0], np.cumsum(lost)])
    return float((summed[window_rows:] - summed[:-window_rows]).max() / window_rows)


def excess(lost: np.ndarray, max_loss: float) -> np.ndarray:
    """Losses above max_loss * T after each number T = 1.. of answers, in the order of decisions; float64 [rows]."""
    return np.cumsum(lost) - max_loss * np.arange(1, len(lost) + 1)
