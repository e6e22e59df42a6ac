"""Results as tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from exeunt.replay.run import ReplayResult
from exeunt.tables import table_of

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("policy", "mean", "median", "loss", "worst 1000", "promise", "% per exit", "us/row", "ms/job")


def cells(result: ReplayResult) -> list[str]:
    """One line: latencies as shares of the plain ensemble's, losses in percent.

    The promise is kept if losses never exceed max_loss * T + P after any number T of answers, P being the most rows
    that awaited feedback; else the table says by how many losses it was passed. References in hindsight have none.
    """
    return [
        result.policy,
        f"{result.mean_latency:.3f}",
        f"{result.median_latency:.3f}",
        f"{100 * result.loss:.2f} %" + (" !" if result.loss > result.max_loss * 1.0001 else ""),
        f"{100 * result.worst_window:.1f} %",
        _promise(result),
        " ".join(f"{100 * share:.0f}" for share in result.answers),
        f"{result.serving_us_per_row:.0f}" if result.serving_us_per_row else "",
        f"{result.tuning_ms_per_job:.1f}" if result.jobs else "",
    ]


def _promise(result: ReplayResult) -> str:
    if not result.serving_us_per_row and not result.most_unconfirmed_rows:
        return ""
    over = result.excess_rows - result.most_unconfirmed_rows
    return f"passed by {over:.0f}" if result.violations else "kept"


def rich_table(results: Sequence[ReplayResult], title: str) -> Table:
    """The results of one stream for the terminal."""
    lines = [cells(result) for result in results]
    table = table_of(COLUMNS, lines, title=title)
    for row, line in zip(table.rows, lines, strict=True):
        row.style = "red" if line[COLUMNS.index("promise")].startswith("passed") else None
    return table
