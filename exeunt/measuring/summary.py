"""A run of requests in numbers: latency, throughput, exits, loss, accuracy. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from exeunt.contract import Reason
from exeunt.measuring.load import LoadRun, RequestOutcome
from exeunt_client.answers import NO_EXIT

UNANSWERED = -2  # label of a row whose request failed; -1 is an answer (no finite vote)


@dataclass(frozen=True, slots=True)
class Summary:
    """One model in one run; latencies count from the scheduled arrival, over answered requests.

    Attributes:
        model: its name.
        requests: sent.
        failed: of these, without an answer.
        first_error: the first error.
        mean_ms, p50_ms, p95_ms, p99_ms: latency.
        rows_per_s: answered rows over the time in which the model was asked.
        late_p99_ms: how late the generator itself sent.
        exits: share of answered rows by exit; empty for a model without exits.
        reasons: share of answered rows by reason, in lower case; empty for a model without exits.
        loss: share of rows whose label is not the full vote's, over rows on which both answered; None if never asked.
        accuracy: share of answered rows with the true label; None where that is not known.
    """

    model: str
    requests: int
    failed: int
    first_error: str
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    rows_per_s: float
    late_p99_ms: float
    exits: dict[int, float]
    reasons: dict[str, float]
    loss: float | None
    accuracy: float | None

    def to_mapping(self) -> dict[str, Any]:
        """The summary for JSON; a number that does not exist becomes None."""
        fields = asdict(self)
        return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in fields.items()}


def summarise(
    run: LoadRun, model: str, rows: int = 1, full: np.ndarray | None = None, truth: np.ndarray | None = None
) -> Summary:
    """Reduce a model's outcomes.

    Args:
        run: what the load generator saw.
        model: which model.
        rows: rows per request.
        full: int [stream rows], the full vote's label, UNANSWERED where it is not known.
        truth: int [stream rows], the true label.
    """
    outcomes = run.outcomes[model]
    answered = [outcome for outcome in outcomes if outcome.answers is not None]
    errors = [outcome.error for outcome in outcomes if outcome.answers is None]
    latency_ms = np.array([1e3 * (outcome.done_s - outcome.scheduled_s) for outcome in answered])
    p50, p95, p99 = percentiles(latency_ms, (50, 95, 99))
    exits, reasons = _departures(answered)
    labels = stream_labels(outcomes, rows)
    return Summary(
        model=model,
        requests=len(outcomes),
        failed=len(errors),
        first_error=errors[0] if errors else "",
        mean_ms=float(latency_ms.mean()) if answered else float("nan"),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        rows_per_s=len(answered) * rows / run.busy_s[model] if run.busy_s[model] > 0 else 0.0,
        late_p99_ms=percentiles(
            np.array([1e3 * (outcome.sent_s - outcome.scheduled_s) for outcome in outcomes]), (99,)
        )[0],
        exits=exits,
        reasons=reasons,
        loss=None if full is None else disagreement(labels, full),
        accuracy=None if truth is None else agreement(labels, truth),
    )


def percentiles(values: np.ndarray, percents: Sequence[float]) -> list[float]:
    """Percentiles of float [n] as values that really occurred (the next higher); NaN where n is 0."""
    if not len(values):
        return [float("nan")] * len(percents)
    return [float(value) for value in np.percentile(values, percents, method="higher")]


def stream_labels(outcomes: Sequence[RequestOutcome], rows: int = 1) -> np.ndarray:
    """Labels by row of the stream, int64 [(last request + 1) * rows]; UNANSWERED where there is no answer."""
    length = (max((outcome.request for outcome in outcomes), default=-1) + 1) * rows
    labels = np.full(length, UNANSWERED, dtype=np.int64)
    for outcome in outcomes:
        if outcome.answers is not None:
            labels[outcome.request * rows : (outcome.request + 1) * rows] = outcome.answers.labels
    return labels


def agreement(labels: np.ndarray, reference: np.ndarray) -> float | None:
    """Share of rows with equal labels, over rows that both know; None where there is none. Lengths may differ."""
    length = min(len(labels), len(reference))
    labels, reference = labels[:length], reference[:length]
    both_labelled = (labels != UNANSWERED) & (reference != UNANSWERED)
    return float((labels[both_labelled] == reference[both_labelled]).mean()) if both_labelled.any() else None


def disagreement(labels: np.ndarray, reference: np.ndarray) -> float | None:
    """Share of rows with different labels, over rows that both know; None where there is none."""
    share = agreement(labels, reference)
    return None if share is None else 1.0 - share


def _departures(answered: Sequence[RequestOutcome]) -> tuple[dict[int, float], dict[str, float]]:
    """Shares by exit and by reason; both empty for a model without exits."""
    request_answers = [outcome.answers for outcome in answered if outcome.answers is not None]
    if not request_answers:
        return {}, {}
    exits = np.concatenate([answers.exits for answers in request_answers])
    if (exits == NO_EXIT).all():
        return {}, {}
    reasons = np.concatenate([answers.reasons for answers in request_answers])
    by_exit = {int(exit_): float((exits == exit_).mean()) for exit_ in np.unique(exits)}
    by_reason = {Reason(int(reason)).name.lower(): float((reasons == reason).mean()) for reason in np.unique(reasons)}
    return by_exit, by_reason
