"""Summaries as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from exeunt.measuring.summary import Summary

if TYPE_CHECKING:
    from rich.table import Table


def latency_table(summaries: Sequence[Summary]) -> Table:
    """One row per model: latency, throughput, loss, accuracy, failures."""
    from rich.markup import escape

    table = _table(("model",), ("p50 ms", "p95 ms", "p99 ms", "rows/s", "loss", "accuracy", "failed"))
    for summary in summaries:
        table.add_row(
            escape(summary.model),
            *(f"{value:.1f}" for value in (summary.p50_ms, summary.p95_ms, summary.p99_ms, summary.rows_per_s)),
            percent(summary.loss, 2),
            percent(summary.accuracy, 1),
            str(summary.failed),
        )
    return table


def exits_table(summaries: Sequence[Summary]) -> Table:
    """One row per model that has exits: share of answers by exit and by reason."""
    from rich.markup import escape

    exits = sorted({exit_ for summary in summaries for exit_ in summary.exits})
    reasons = sorted({reason for summary in summaries for reason in summary.reasons})
    table = _table(("model",), (*(f"exit {exit_}" for exit_ in exits), *reasons))
    for summary in summaries:
        if summary.exits:
            shares = [summary.exits.get(exit_, 0.0) for exit_ in exits]
            table.add_row(
                escape(summary.model), *map(percent, shares + [summary.reasons.get(reason, 0.0) for reason in reasons])
            )
    return table


def accuracy_table(accuracies: Mapping[str, float]) -> Table:
    """Name -> share of true labels."""
    from rich.markup import escape

    table = _table(("member",), ("accuracy",))
    for name, share in accuracies.items():
        table.add_row(escape(name), percent(share, 1))
    return table


def percent(share: float | None, digits: int = 1) -> str:
    """A share for people; "-" where there is none.

    >>> percent(0.0123, 2)
    '1.23 %'
    """
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def _table(left: Sequence[str], right: Sequence[str]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table
