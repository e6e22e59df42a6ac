"""Tables, which look the same everywhere: on the terminal, and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def table_of(
    columns: Sequence[str], rows: Iterable[Sequence[str]], left_columns: Sequence[str] = (), title: str = ""
) -> Table:
    """A table of rows; needs rich.

    Args:
        columns: their heads.
        rows: cells, which are text and never markup, whatever they look like.
        left_columns: heads of the columns that are aligned left; () = the first column. The others are aligned right.
        title: over it, text too.
    """
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.title, table.title_justify = escape(title) or None, "left"
    for column in columns:
        table.add_column(column, justify="left" if column in (left_columns or columns[:1]) else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column left, the others right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [list(header), rule, *map(list, lines)])
