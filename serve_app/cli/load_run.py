"""A run of `midstream load`: the load tester on a terminal, and its report.

Exit code 1 is for a server that cannot be reached or refuses, and for a run that found what must not
be: an orphan, a wrong charge, a wrong text, an account that does not add up.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from actors.core.plain_text import plain
from actors.loadtest.load_test import Where, run_load_test
from actors.loadtest.plan import Plan, PlanError
from actors.loadtest.report.live import LiveProgress
from actors.loadtest.report.page import render_page
from actors.loadtest.report.table import error_lines, tables, verdict
from actors.loadtest.target import LoadError
from serve_app.cli.remote import RemoteError
from serve_app.cli.tables import print_table

__all__ = ["Where", "run"]


def run(
    plan: Plan,
    levels: tuple[float, ...] | None,
    where: Where,
    *,
    json_file: str | None,
    html_file: str | None,
) -> None:
    """Run it, print the tables, write the files.

    Args:
        levels: of a sweep.

    Raises:
        PlanError: what was asked for cannot be done.
        RemoteError: the run stopped before its plan, or found what must not be.
    """
    if not plan.url:
        raise PlanError('Name a URL, or run eval "$(midstream env)" first.')
    for file in filter(None, (json_file, html_file)):
        if Path(file).is_dir() or not Path(file).absolute().parent.is_dir():
            raise PlanError(f"{file} cannot be written: there is no such folder, or it is one.")
    try:
        with LiveProgress() as progress:
            figures = run_load_test(plan, levels or (plan.load.level,), where, progress)
    except LoadError as error:
        raise RemoteError(str(error)) from None
    _print(figures)
    if json_file:
        Path(json_file).write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    if html_file:
        Path(html_file).write_text(render_page(figures), "utf-8")
    stopped = next((level["stopped"] for level in figures["levels"] if level["stopped"]), "")
    if sentence := stopped or verdict(figures):
        raise RemoteError(plain(sentence))


def _print(figures: dict[str, Any]) -> None:
    for table in tables(figures):
        print(f"\n{table.title}")
        print_table(table.headings, table.rows)
    if lines := error_lines(figures):
        print("\nWhat went wrong", *map(plain, lines), sep="\n")
