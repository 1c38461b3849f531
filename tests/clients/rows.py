"""One row of the table: a client, where it asks, and what each of its scenarios came to.

A script runs once per place and prints a line per scenario; the rows are kept, so that every scenario is
a test of its own without a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Place", "run_script"]

SCRIPT_TIMEOUT_S = 240


@dataclass(frozen=True)
class Place:
    """Where clients ask: an address, a key and a model's name; `log` is the provider that is asked."""

    url: str
    key: str
    model: str
    log: str


def run_script(command: list[str], place: Place, *, mark: str, home: Path) -> dict[str, str]:
    """Run a client's script; return the error of each scenario, empty where it passed."""
    home.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        command,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "ASKED_URL": place.url,
            "ASKED_KEY": place.key,
            "ASKED_MODEL": place.model,
            "ASKED_LOG": place.log,
            "ASKED_MARK": mark,
            # No client tells anybody but us anything.
            "DO_NOT_TRACK": "1",
            "LANGSMITH_TRACING": "false",
            "OPENAI_AGENTS_DISABLE_TRACING": "1",
            "HF_HUB_OFFLINE": "1",
            "TIKTOKEN_CACHE_DIR": str(home),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SCRIPT_TIMEOUT_S,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"scenario"')]
    rows = {row["scenario"]: row["error"] for row in map(json.loads, lines)}
    if not rows or done.returncode != 0:
        rows["ends well"] = f"{done.returncode}\n{done.stderr[-4_000:]}\n{done.stdout[-1_000:]}"
    return rows
