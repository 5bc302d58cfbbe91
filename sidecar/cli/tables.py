"""Columns on a terminal: the one place that imports rich.

In a pipe a table is as wide as its longest words, so that nothing a script looks for is cut in two.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidecar.cli.terminal import has_colour, printable

__all__ = ["Cell", "columns", "show"]

Cell = str | tuple[str, str]  # a text, or a text and its style

_PIPE_COLUMNS = 1000


def columns() -> int:
    """How many characters fit into a line."""
    return Console().width if sys.stdout.isatty() else _PIPE_COLUMNS


def show(headers: Sequence[str], rows: Iterable[Sequence[Cell]], *, wraps: str = "", right: Sequence[str] = ()) -> None:
    """Print a table.

    Args:
        headers: Of the columns.
        rows: A cell for each header.
        wraps: The one column that gives way on a narrow terminal.
        right: Columns of numbers.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim" if has_colour() else "")
    for header in headers:
        table.add_column(
            header, no_wrap=header != wraps, justify="right" if header in right else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*map(_text, row))
    sys.stdout.flush()
    console = Console(width=columns(), no_color=not has_colour(), highlight=False)
    with console.capture() as captured:
        console.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _text(cell: Cell) -> Text:
    """Never markup: brackets in a name are brackets."""
    text, style = (cell, "") if isinstance(cell, str) else cell
    return Text(printable(text), style=style)
