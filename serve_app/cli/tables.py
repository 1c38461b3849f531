"""Tables for people on a terminal, and tab-separated lines for everything else."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from actors.core.plain_text import one_line

__all__ = ["print_table"]


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print to standard output; numbers stand right where their heading begins with `#`."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in ([heading.lstrip("#") for heading in headings], *rows):
            print("\t".join(row))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        justify = "right" if heading.startswith("#") else "left"
        table.add_column(heading.lstrip("#"), justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*row)
    # What models, teams and tags are called is no markup, and `:100:` in a tag no picture.
    Console(highlight=False, markup=False, emoji=False).print(table)
