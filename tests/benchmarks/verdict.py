"""Each stream held against the upstream's own log: no lost word, no word of another's, exact charge."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.benchmarks.raw_stream import RawStream
from tests.support.instance import ADMIN_KEY

__all__ = ["Verdict", "hold_against_upstream", "upstream_rows"]

INPUT_MICROCREDITS = 75
OUTPUT_MICROCREDITS = 450

_CALLS_MAX = 16
_CLOSE_TRIES = 100
_PAUSE_S = 0.1


@dataclass(slots=True)
class Verdict:
    """Counts of streams, and of tokens where it says so. `faults` has the first sentences.

    Args:
        lost: tokens that a completed stream's upstream sent and its reader does not have, and those
            that a cancelled one was charged for and its reader does not have.
        unread: tokens that the upstream sent and that a cancelled stream has not: those in flight.
    """

    completed: int = 0
    cancelled: int = 0
    tokens: int = 0
    errors: int = 0
    wrong_words: int = 0
    lost: int = 0
    unread: int = 0
    wrong_charges: int = 0
    orphans: int = 0
    charged_microcredits: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        found = (self.errors, self.wrong_words, self.lost, self.wrong_charges, self.orphans)
        return not any(found)

    def fault(self, stream: RawStream, words: str) -> None:
        if len(self.faults) < 10:
            self.faults.append(f"{stream.completion_id}: {words}")


async def upstream_rows(simulator: str, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the upstream's log of each request, by its name, once it is closed or after a while.

    Raises: SystemExit: the upstream knows nothing of one of them, or was asked for it twice.
    """
    calls = asyncio.Semaphore(_CALLS_MAX)
    async with aiohttp.ClientSession() as http:

        async def one(name: str) -> dict[str, Any]:
            for _ in range(_CLOSE_TRIES):
                async with (
                    calls,
                    http.get(
                        f"{simulator}/_simulator/requests",
                        params={"completion_id": name},
                        headers={"Authorization": f"Bearer {ADMIN_KEY}"},
                    ) as answer,
                ):
                    rows = (await answer.json())["data"]
                if len(rows) != 1:
                    raise SystemExit(f"the upstream has {len(rows)} requests of {name}")
                if rows[0]["closed_at"]:
                    break
                await asyncio.sleep(_PAUSE_S)
            return dict(rows[0])

        found = await asyncio.gather(*(one(name) for name in names))
    return dict(zip(names, found, strict=True))


def hold_against_upstream(pairs: Iterable[tuple[RawStream, dict[str, Any]]]) -> Verdict:
    """Judge streams that have ended."""
    verdict = Verdict()
    for stream, row in pairs:
        verdict.tokens += len(stream.words)
        verdict.orphans += row["closed_at"] is None
        if stream.error or stream.finish_reason not in ("length", "cancelled"):
            verdict.errors += 1
            verdict.fault(stream, stream.error or f"finish reason {stream.finish_reason}")
            continue
        _judge_words(verdict, stream, row)
        _judge_charge(verdict, stream, row)
    return verdict


def _judge_words(verdict: Verdict, stream: RawStream, row: dict[str, Any]) -> None:
    text = "".join(stream.words)
    missing = row["tokens_sent"] - len(stream.words)
    if not row["text_sent"].startswith(text):
        verdict.wrong_words += 1
        verdict.fault(stream, "its words are not the upstream's")
    if stream.finish_reason == "cancelled":
        verdict.cancelled += 1
        verdict.unread += missing
        verdict.lost += max(0, stream.usage["completion_tokens"] - len(stream.words))
        return
    verdict.completed += 1
    verdict.lost += missing
    if text != row["text_sent"]:
        verdict.fault(stream, f"{missing} tokens are lost")


def _judge_charge(verdict: Verdict, stream: RawStream, row: dict[str, Any]) -> None:
    charged = round(stream.usage["credits_charged"] * 1_000_000)
    owed = INPUT_MICROCREDITS * row["prompt_tokens"] + OUTPUT_MICROCREDITS * len(stream.words)
    verdict.charged_microcredits += charged
    if charged != owed:
        verdict.wrong_charges += 1
        verdict.fault(stream, f"charged {charged}, owes {owed} micro-credits")
