"""What was true, held against what each client saw: records, money, the upstream's own log.

Nothing here asks the product what it thinks of itself, but for what its users can ask: a record is what an
operator is shown, a charge what it says, and the upstream's log is the upstream's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import aiohttp

from tests.chaos.streams import Fate, Site, Story, Verdict

__all__ = ["READER_GRACE_S", "Finding", "Kind", "Truth", "find", "gather"]

_INPUT, _OUTPUT = 75, 450
"""Micro-credits a token of every model here."""

READER_GRACE_S = 30.0
"""How long a completion waits for a reader whom the faults kept out."""

_GRACE_SLACK_S = 5.0
"""The wait begins when the loss is seen, which may be before its client sees it."""

_CALM_TIMEOUT_S = 90.0
_POLL_S = 0.5
_AT_ONCE = 16


class Kind(StrEnum):
    """What can be wrong; each must be 0."""

    UNANSWERED = "no end"  # a client waits for ever, or is told that there is none
    EVENTS_LOST = "lost"
    EVENTS_REPEATED = "repeated"
    TEXT_MISSING = "text"  # delivered, and not in the record
    WRONG_END = "end"  # cancelled or failed, and nobody who may do that did
    END_CHANGED = "changed"  # a client was told another one than the record has
    WRONG_CHARGE = "charge"
    HOLD_OPEN = "hold"
    ORPHAN = "orphan"  # an upstream that nobody reads, or a second one for one completion
    SLOT_LEAKED = "slot"


@dataclass(frozen=True, slots=True)
class Finding:
    kind: Kind
    wire_id: str
    what: str


@dataclass(slots=True)
class Truth:
    """Everything that can be asked when all is over: by wire id, and of the whole instance."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    upstream: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    balance: dict[str, Any] = field(default_factory=dict)
    pool: dict[str, Any] = field(default_factory=dict)


async def gather(site: Site, admin_key: str, upstream: str, wire_ids: Sequence[str]) -> Truth:
    """Wait until nothing runs, or not any longer, and ask everything."""
    truth = Truth()
    async with aiohttp.ClientSession(trust_env=False) as http:
        asker = _Asker(http, site, admin_key)
        await asker.calm(truth)
        room = asyncio.Semaphore(_AT_ONCE)

        async def ask(wire_id: str) -> None:
            async with room:
                row = truth.rows.get(wire_id)
                if row is None:
                    return
                path = f"/admin/v1/completions/{row['id']}"
                truth.records[wire_id] = await asker.get(path, admin_key)
                query = f"{upstream}/_simulator/requests?completion_id={row['id']}"
                async with http.get(query) as answer:
                    truth.upstream[wire_id] = (await answer.json())["data"]

        await asyncio.gather(*map(ask, wire_ids))
        truth.audit = await asker.get("/admin/v1/ledger/audit", admin_key)
        truth.balance = await asker.get("/v1/balance", site.key)
    return truth


def find(stories: Sequence[Story], truth: Truth) -> Iterator[Finding]:
    """Yield all that is wrong."""
    for story in stories:
        yield from _of_story(story, truth)
    for wire_id in dict.fromkeys(story.wire_id for story in stories):
        if wire_id in truth.rows:
            yield from _of_completion(wire_id, truth)
    yield from _of_instance(truth)


def _of_story(story: Story, truth: Truth) -> Iterator[Finding]:
    def finding(kind: Kind, what: str) -> Finding:
        return Finding(kind, story.wire_id, f"{story.fate}, {story.verdict}: {what}")

    row, record = truth.rows.get(story.wire_id), truth.records.get(story.wire_id)
    if story.verdict in (Verdict.STUCK, Verdict.GONE):
        yield finding(Kind.UNANSWERED, f"after frame {story.cursor}")
    if story.missed:
        yield finding(Kind.EVENTS_LOST, f"{story.missed} frames")
    if story.repeated:
        yield finding(Kind.EVENTS_REPEATED, f"{story.repeated} frames")
    if row is None or record is None:
        if story.cursor >= 0:
            yield finding(Kind.TEXT_MISSING, "no record at all")
        return
    text = _text(record)
    if not text.startswith(story.text):
        yield finding(
            Kind.TEXT_MISSING, f"{len(story.text)} characters, {len(text)} recorded {story.error}"
        )
    if story.verdict is Verdict.COMPLETED and text != story.text:
        yield finding(Kind.EVENTS_LOST, "the record has more than the whole stream had")
    told = {
        Verdict.COMPLETED: "completed",
        Verdict.CANCELLED: "cancelled",
        Verdict.FAILED: "failed",
    }
    if told.get(story.verdict, row["status"]) != row["status"]:
        yield finding(Kind.END_CHANGED, f"the record says {row['status']}")
    if not _may_end(story, row, record):
        yield finding(Kind.WRONG_END, f"{row['status']} {row['source']} {record['failure']}")


def _may_end(story: Story, row: dict[str, Any], record: dict[str, Any]) -> bool:
    status = row["status"]
    if status == "failed":
        return story.fate is Fate.BROKEN or record["failure"] == "completion_lost"
    if status == "cancelled":
        if row["source"] == "client_disconnect":
            return story.fate is Fate.LEAVE or story.away_s > READER_GRACE_S - _GRACE_SLACK_S
        return bool(row["source"] == "client_request") and story.fate is Fate.CANCEL
    return bool(status == "completed") and story.fate is not Fate.BROKEN


def _of_completion(wire_id: str, truth: Truth) -> Iterator[Finding]:
    row, record = truth.rows[wire_id], truth.records.get(wire_id, {})
    requests = truth.upstream.get(wire_id, [])
    if any(request["closed_at"] is None for request in requests):
        yield Finding(Kind.ORPHAN, wire_id, f"{row['status']}, and its upstream is open")
    if len(requests) > 1:
        yield Finding(Kind.ORPHAN, wire_id, f"{len(requests)} upstream requests")
    wrong = _wrong_charge(row, record, requests)
    if wrong:
        yield Finding(Kind.WRONG_CHARGE, wire_id, f"{row['status']}: {wrong}")


def _wrong_charge(
    row: dict[str, Any], record: dict[str, Any], requests: list[dict[str, Any]]
) -> str:
    """Say what is wrong with a charge, "" where nothing is."""
    charged = round(float(row["credits"]) * 1e6)
    if row["status"] == "failed":
        return f"{charged} for nothing" if charged else ""
    if not requests:
        # A cancel may meet the request on its way: a prompt that was dispatched is paid for.
        return "" if row["status"] == "cancelled" and charged % _INPUT == 0 else f"{charged}"
    sent = sum(request["tokens_sent"] for request in requests)
    tokens = len(_text(record).split())
    due = _INPUT * requests[0]["prompt_tokens"] + _OUTPUT * tokens
    if row["status"] == "completed" and tokens != sent:
        return f"{tokens} tokens recorded, {sent} sent"
    if tokens > sent:
        return f"{tokens} tokens recorded, only {sent} sent"
    return "" if charged == due else f"{charged} charged, {due} due"


def _of_instance(truth: Truth) -> Iterator[Finding]:
    for wire_id, row in truth.rows.items():
        if row["status"] not in ("completed", "cancelled", "failed"):
            yield Finding(Kind.HOLD_OPEN, wire_id, f"it is {row['status']}")
    if truth.balance["held_credits"]:
        yield Finding(Kind.HOLD_OPEN, "", f"{truth.balance['held_credits']} credits held")
    if not truth.audit["ok"]:
        yield Finding(Kind.WRONG_CHARGE, "", f"audit: {truth.audit}")
    spent = sum(round(float(row["credits"]) * 1e6) for row in truth.rows.values())
    left = round(float(truth.balance["credits"]) * 1e6)
    given = round(float(truth.balance.get("given", 0)) * 1e6)
    if given and left + spent != given:
        yield Finding(Kind.WRONG_CHARGE, "", f"{given} given, {spent} spent, {left} left")
    leaked = truth.pool["slots"] - truth.pool["slots_free"]
    if leaked:
        yield Finding(Kind.SLOT_LEAKED, "", f"{leaked} of {truth.pool['slots']}")


def _text(record: dict[str, Any]) -> str:
    choices = record.get("record", {}).get("choices") or [{}]
    return str((choices[0].get("message") or {}).get("content") or "")


class _Asker:
    """Asks as an operator; what is not answered is asked again, for a while."""

    def __init__(self, http: aiohttp.ClientSession, site: Site, admin_key: str) -> None:
        self._http = http
        self._url = site.urls[0]
        self._admin_key = admin_key

    async def get(self, path: str, key: str) -> dict[str, Any]:
        deadline_s = asyncio.get_running_loop().time() + _CALM_TIMEOUT_S
        while True:
            try:
                headers = {"Authorization": f"Bearer {key}"}
                async with self._http.get(self._url + path, headers=headers) as answer:
                    if answer.status == 200:
                        return dict(await answer.json())
                    failure = f"{answer.status} {await answer.text()}"
            except aiohttp.ClientError as error:
                failure = repr(error)
            if asyncio.get_running_loop().time() > deadline_s:
                raise AssertionError(f"{path}: {failure}")
            await asyncio.sleep(_POLL_S)

    async def calm(self, truth: Truth) -> None:
        """Wait until nothing runs and all slots are free; at the bound, what is so is told."""
        deadline_s = asyncio.get_running_loop().time() + _CALM_TIMEOUT_S
        while True:
            truth.rows = await self._rows()
            truth.pool = (await self.get("/readyz", self._admin_key))["pool"]
            statuses = Counter(row["status"] for row in truth.rows.values())
            is_over = not statuses.keys() - {"completed", "cancelled", "failed"}
            is_free = truth.pool["slots"] == truth.pool["slots_free"]
            if (is_over and is_free) or asyncio.get_running_loop().time() > deadline_s:
                return
            await asyncio.sleep(_POLL_S)

    async def _rows(self) -> dict[str, dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        cursor = ""
        while True:
            path = f"/admin/v1/completions?team=chaos&limit=1000{cursor}"
            page = await self.get(path, self._admin_key)
            rows |= {row["wire_id"]: row for row in page["data"]}
            if page["next_cursor"] is None:
                return rows
            cursor = f"&cursor={page['next_cursor']}"
