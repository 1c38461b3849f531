"""The operator's routes: completions of all teams, teams, keys, credits, the ledger's audit.

Every route needs the admin key; errors come in the chat dialect's envelope. Amounts are credits on
the wire, with at most six decimals, and micro-credits everywhere else. What an object looks like is
in `objects`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from actors.core.errors import CompletionNotFound, InvalidRequest
from actors.core.events import CancelSource
from actors.core.record import CompletionRecord
from actors.ports.ledger import Balance
from actors.ports.runtime import CancelOutcome, CompletionFilter
from serve_app.dialects.base import DialectRules
from serve_app.dialects.idempotency import idempotency_key
from serve_app.dialects.json_body import parse_object, validate
from serve_app.dialects.midstream_object import credits
from serve_app.dialects.queries import cursor
from serve_app.endpoints.admin.bodies import GrantBody, KeyBody, TeamBody
from serve_app.endpoints.admin.objects import (
    EventRows,
    balance_object,
    completion_detail,
    completion_row,
    key_row,
)
from serve_app.http.errors import AlreadyTerminal
from serve_app.http.event_stream import EventStream, Opening, StreamOptions, StreamReading
from serve_app.http.exchange import Exchange
from serve_app.http.route import Shell

__all__ = ["AdminEndpoints"]

_ROWS_DEFAULT = 100
_ROWS_MAX = 1_000


class AdminEndpoints:
    """Handlers of `/admin/v1`; `dialects` render the records of their completions."""

    def __init__(self, shell: Shell, dialects: dict[str, DialectRules]) -> None:
        self._shell = shell
        self._runtime = shell.runtime
        self._dialects = dialects

    # Completions.

    async def list_completions(self, exchange: Exchange) -> None:
        self._require_admin(exchange)
        query = exchange.query
        where = CompletionFilter(
            team=query.get("team"),
            model=query.get("model"),
            dialect=query.get("dialect"),
            status=query.get("status"),
            node_id=query.get("node"),
            tag=_tag(query.get("tag")),
        )
        limit = _limit(query.get("limit"))
        rows, cursor = await self._runtime.list_completions(
            where, limit=limit, cursor=query.get("cursor")
        )
        await exchange.json(
            200, {"data": [completion_row(row) for row in rows], "next_cursor": cursor}
        )

    async def read_completion(self, exchange: Exchange) -> None:
        self._require_admin(exchange)
        record = await self._runtime.get_by_id(exchange.path("id"))
        await exchange.json(200, self._detail(record))

    async def cancel_completion(self, exchange: Exchange) -> None:
        self._require_admin(exchange)
        work = self._runtime.cancel_by_id(exchange.path("id"), CancelSource.ADMIN)
        answer = await self._shell.background.finish(work)
        if answer.outcome is CancelOutcome.TERMINAL:
            raise AlreadyTerminal
        await exchange.json(200, self._detail(answer.record))

    async def events(self, exchange: Exchange) -> None:
        """Stream the log; the cursor is the log's own sequence (`?after=`, `Last-Event-ID`)."""
        self._require_admin(exchange)
        shell, settings = self._shell, self._shell.settings
        text = exchange.query.get("after", exchange.headers.get("last-event-id"))
        after = cursor(text, "after", is_called="a sequence number")
        subscription = await self._runtime.subscribe_by_id(exchange.path("id"))
        options = StreamOptions(
            keep_alive=b": keep-alive\n\n",
            opening=Opening.AT_ONCE,
            headers_after_s=settings.headers_after_s,
            keep_alive_s=settings.keep_alive_s,
            stall_s=settings.reader_stall_s,
            frames_skipped=after + 1,
        )
        async with StreamReading(subscription, exchange.watch(), shell.background) as reading:
            await EventStream(exchange, reading, EventRows(exchange.request_id), options).run()

    # Teams, keys, credits.

    async def create_team(self, exchange: Exchange) -> None:
        body = validate(TeamBody, await self._body(exchange))
        state = await self._runtime.ledger.create_team(
            body.team,
            body.organization,
            credits_microcredits=_microcredits(body.credits, "credits"),
            limits=body.change(),
            policy=body.policy(),
        )
        balance = await self._runtime.ledger.balance(body.team)
        value = {
            "team": body.team,
            "organization": body.organization,
            "credits": credits(balance.credits_microcredits),
            "limits": asdict(state.limits),
            "store_content": "full" if state.policy.stores_content else "none",
            "native_passthrough": state.policy.native_passthrough,
        }
        await exchange.json(200, value)

    async def create_key(self, exchange: Exchange) -> None:
        body = validate(KeyBody, await self._body(exchange, may_be_empty=True))
        key = await self._runtime.ledger.create_key(exchange.path("team"), body.name)
        value = {"key_id": key.key_id, "key": key.secret, "team": key.team}
        await exchange.json(200, value, [(b"cache-control", b"no-store")])

    async def list_keys(self, exchange: Exchange) -> None:
        """List keys, never their secrets; `?team=` for one team's."""
        self._require_admin(exchange)
        rows = await self._runtime.ledger.list_keys(exchange.query.get("team"))
        await exchange.json(200, {"data": [key_row(row) for row in rows], "next_cursor": None})

    async def revoke_key(self, exchange: Exchange) -> None:
        self._require_admin(exchange)
        key_id = exchange.path("key_id")
        await self._runtime.ledger.revoke_key(key_id)
        await exchange.json(200, {"key_id": key_id, "revoked": True})

    async def grant_credits(self, exchange: Exchange) -> None:
        body = validate(GrantBody, await self._body(exchange))
        team = exchange.path("team")
        balance = await self._runtime.ledger.grant_credits(
            team, _microcredits(body.amount, "amount"), _grant_id(team, exchange.headers)
        )
        await exchange.json(200, balance_object(team, balance))

    async def read_credits(self, exchange: Exchange) -> None:
        self._require_admin(exchange)
        team = exchange.path("team")
        balance: Balance = await self._runtime.ledger.balance(team)
        await exchange.json(200, balance_object(team, balance))

    async def audit(self, exchange: Exchange) -> None:
        self._require_admin(exchange)
        await exchange.json(200, await self._runtime.ledger.audit())

    # Parts of the above.

    def _require_admin(self, exchange: Exchange) -> None:
        self._shell.authenticator.require_admin(exchange.headers)

    async def _body(self, exchange: Exchange, *, may_be_empty: bool = False) -> dict[str, Any]:
        self._require_admin(exchange)
        body = await exchange.body()
        return {} if may_be_empty and not body.strip() else parse_object(body)

    def _detail(self, record: CompletionRecord) -> dict[str, Any]:
        dialect = self._dialects.get(record.header.dialect)
        if dialect is None:
            raise CompletionNotFound
        return completion_detail(record, dialect)


def _grant_id(team: str, headers: Mapping[str, str]) -> str | None:
    """Return what the team's grant of this `Idempotency-Key` is called, None without one."""
    key = idempotency_key(headers)
    if key is None:
        return None
    return f"grant_{hashlib.sha256(f'{team} {key}'.encode()).hexdigest()}"


def _microcredits(amount: float, param: str) -> int:
    microcredits = round(amount * 1_000_000)
    if microcredits / 1_000_000 != amount:
        raise InvalidRequest(f"{param} has more than six decimals.", param=param)
    return microcredits


def _limit(text: str | None) -> int:
    if text is None:
        return _ROWS_DEFAULT
    if not re.fullmatch(r"[0-9]{1,4}", text, re.ASCII) or not 1 <= int(text) <= _ROWS_MAX:
        raise InvalidRequest(
            f"limit must be 1 to {_ROWS_MAX}.", param="limit", reason="value_out_of_range"
        )
    return int(text)


def _tag(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise InvalidRequest("tag must be name=value.", param="tag")
    return name, value
