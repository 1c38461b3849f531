"""What `midstream up` says: while it starts what it waits for, and when it is ready where it is, how much
it carries, what to paste.
"""

from __future__ import annotations

import re

from rich.console import Console
from rich.panel import Panel

from actors.settings import Settings
from serve_app.cli.output import Output
from serve_app.instance.instance import Ready

__all__ = ["PROGRESS", "progress", "welcome"]

_PANEL_COLUMNS = 78


PROGRESS = re.compile(r"^ +\d+ s  .", re.M)
"""What a line of `progress` begins with."""


def progress(seconds: float, step: str, output: Output) -> None:
    """Print a line of what the start waits for, where errors go too."""
    print(f"{seconds:6.0f} s  {step}", file=output.err, flush=True)


def welcome(ready: Ready, output: Output) -> None:
    """Print the panel, lines to paste, and the one line that scripts wait for."""
    console = Console(file=output.out, highlight=False, markup=False, emoji=False)
    summary = "\n".join(
        (
            f"url        {ready.url}",
            f"capacity   {_capacity(ready.settings)}",
            f"data       {ready.settings.data_dir}",
        )
    )
    console.print(Panel(summary, title="Midstream", width=_PANEL_COLUMNS, title_align="left"))
    for line in _lines_to_paste(ready):
        console.print(line, soft_wrap=True)
    print(f"ready {ready.url}", file=output.out, flush=True)


def _capacity(settings: Settings) -> str:
    """Say how many streams there may be at once, and how many before processes are shared further."""
    per_actor, most = settings.streams_per_actor, settings.streams_per_node_max
    first = settings.actors_per_node * per_actor
    how = "alone in their process" if per_actor == 1 else f"with {per_actor} to a process"
    return f"{most:,} streams; {first:,} {how}" if first < most else f"{most:,} streams {how}"


def _lines_to_paste(ready: Ready) -> tuple[str, ...]:
    settings = ready.settings
    default = Settings().data_path.absolute()
    option = "" if settings.data_path == default else f" --data-dir {settings.data_dir}"
    return (
        f"demo key   {ready.keys.demo}",
        "",
        "Stream a completion, in a second terminal:",
        "",
        f'  eval "$(midstream env{option})"',
        '  curl -N "$MIDSTREAM_URL/v1/chat/completions" -H "Authorization: Bearer '
        "$MIDSTREAM_API_KEY\" -H 'Content-Type: application/json' "
        '-H "Midstream-Completion-Id: hello-$(date +%s)" '
        '-d \'{"model": "sim-slow", "stream": true, '
        '"messages": [{"role": "user", "content": "Hi"}]}\'',
        "",
        "Stop it, in a third:",
        "",
        f'  eval "$(midstream env{option})"',
        """  midstream cancel "$(midstream ps | awk '/ hello-/ {print $2; exit}')\"""",
        "",
    )
