"""What the benchmarks share: a client that streams, percentiles, and tables.

Benchmarks print tables and assert nothing about time: this is where speed is looked at, not guarded.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from rich.table import Table

from tests.support.consoles import plain_console


@dataclass
class Streamed:
    """One stream as its reader saw it; times are `time.time()`, to be held against the upstream's."""

    opened_at: float
    completion_id: str = ""
    first_token_at: float = 0.0
    ended_at: float = 0.0
    tokens: int = 0
    finish_reason: str | None = None
    status: int = 0
    started: asyncio.Event = field(default_factory=asyncio.Event)


async def read_stream(
    session: aiohttp.ClientSession,
    url: str,
    body: dict[str, Any],
    headers: dict[str, str],
    streamed: Streamed | None = None,
) -> Streamed:
    """POST and read to the end, counting the text deltas."""
    seen = streamed or Streamed(time.time())
    async with session.post(url, json={**body, "stream": True}, headers=headers) as answer:
        seen.status = answer.status
        seen.completion_id = answer.headers.get("midstream-completion-id", "")
        async for line in answer.content:
            if not line.startswith(b"data: {"):
                continue
            _take(seen, line)
    seen.ended_at = time.time()
    seen.started.set()
    return seen


def _take(seen: Streamed, line: bytes) -> None:
    choices = json.loads(line[6:]).get("choices") or [{}]
    if choices[0].get("delta", {}).get("content"):
        seen.tokens += 1
        if not seen.first_token_at:
            seen.first_token_at = time.time()
            seen.started.set()
    seen.finish_reason = choices[0].get("finish_reason") or seen.finish_reason


def percentile(values: Sequence[float], fraction: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    plain_console(width=160).print(table)
