"""Summaries as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from exeunt.measuring.summary import Summary
from exeunt.tables import table_of

if TYPE_CHECKING:
    from rich.table import Table


def latency_table(summaries: Sequence[Summary]) -> Table:
    """One row per model: latency, throughput, loss, accuracy, failures."""
    rows = [
        (
            summary.model,
            *(f"{value:.1f}" for value in (summary.p50_ms, summary.p95_ms, summary.p99_ms, summary.rows_per_s)),
            percent(summary.loss, 2),
            percent(summary.accuracy),
            str(summary.failed),
        )
        for summary in summaries
    ]
    return table_of(("model", "p50 ms", "p95 ms", "p99 ms", "rows/s", "loss", "accuracy", "failed"), rows)


def exits_table(summaries: Mapping[str, Summary]) -> Table:
    """One column per summary of a model with exits, under its heading: share of answers by exit and by reason."""
    named = {heading: summary for heading, summary in summaries.items() if summary.exits}
    columns = list(named.values())
    exits = sorted({exit_ for summary in columns for exit_ in summary.exits})
    reasons = sorted({reason for summary in columns for reason in summary.reasons})
    rows = [(f"exit {exit_}", *(percent(summary.exits.get(exit_, 0.0)) for summary in columns)) for exit_ in exits]
    rows += [(reason, *(percent(summary.reasons.get(reason, 0.0)) for summary in columns)) for reason in reasons]
    return table_of(("", *named), rows)


def accuracy_table(accuracies: Mapping[str, float]) -> Table:
    """Name -> share of true labels."""
    return table_of(("member", "accuracy"), [(name, percent(share)) for name, share in accuracies.items()])


def percent(share: float | None, digits: int = 1) -> str:
    """A share for people; "-" where there is none.

    >>> percent(0.0123, 2)
    '1.23 %'
    """
    return "-" if share is None else f"{100 * share:.{digits}f} %"
