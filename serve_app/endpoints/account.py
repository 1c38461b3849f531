"""What a team may ask about itself: the models it can use, and its balance.

Source: contract of the chat dialect, section 6; OpenAI's "List models", whose members come along.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.core.errors import InvalidRequest
from actors.core.money.prices import Price, Prices
from actors.upstream.catalogue import CatalogueModel
from serve_app.dialects.base import DialectRules
from serve_app.dialects.midstream_object import credits
from serve_app.http.exchange import Exchange
from serve_app.http.route import Shell

__all__ = ["AccountEndpoints", "AnthropicModels"]

_MODELS_SINCE = 1_778_803_200
"""`created` of every model, which OpenAI's clients require: the day of this API's version."""

_MODELS_SINCE_TEXT = "2026-05-15T00:00:00Z"
_LIMIT_MAX = 1_000


class AccountEndpoints:
    def __init__(self, shell: Shell, dialect: DialectRules) -> None:
        self._shell = shell
        self._dialect = dialect

    async def models(self, exchange: Exchange) -> None:
        await self._team(exchange)
        rows = [_model_row(model) for model in self._shell.catalogue.models()]
        await exchange.json(200, {"object": "list", "data": rows})

    async def model(self, exchange: Exchange) -> None:
        await self._team(exchange)
        model = self._shell.catalogue.lookup(exchange.path("model"))
        await exchange.json(200, _model_row(model))

    async def balance(self, exchange: Exchange) -> None:
        balance = await self._shell.runtime.ledger.balance(await self._team(exchange))
        value = {
            "credits": credits(balance.credits_microcredits),
            "held_credits": credits(balance.held_microcredits),
            "available_credits": credits(balance.available_microcredits),
            "currency": "credit",
            "billing_mode": balance.billing_mode,
        }
        await exchange.json(200, value)

    async def _team(self, exchange: Exchange) -> str:
        principal = await self._shell.authenticator.principal(exchange.headers)
        self._dialect.check(exchange.call())
        return principal.team


class AnthropicModels(AccountEndpoints):
    """The models in the shape of Anthropic's API, which says nothing of prices.

    Source: Anthropic API reference, "List Models" and "Get a Model", read 2026-11-25.
    """

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, shell.dialects.messages)

    async def models(self, exchange: Exchange) -> None:
        await self._team(exchange)
        rows = [_anthropic_row(model) for model in self._shell.catalogue.models()]
        page, has_more = _page(rows, exchange.query)
        ends = (page[0]["id"], page[-1]["id"]) if page else (None, None)
        value = {"data": page, "has_more": has_more, "first_id": ends[0], "last_id": ends[1]}
        await exchange.json(200, value)

    async def model(self, exchange: Exchange) -> None:
        await self._team(exchange)
        model = self._shell.catalogue.lookup(exchange.path("model"))
        await exchange.json(200, _anthropic_row(model))


def _anthropic_row(model: CatalogueModel) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model.slug,
        "display_name": model.slug,
        "created_at": _MODELS_SINCE_TEXT,
        "max_input_tokens": model.context_window,
        "max_tokens": model.max_output_tokens_hard_cap,
    }


def _page(
    rows: list[dict[str, Any]], query: Mapping[str, str]
) -> tuple[list[dict[str, Any]], bool]:
    """Return the rows that were asked for, and whether there are more in that direction.

    Raises: InvalidRequest: the limit is no number from 1 to 1,000.
    """
    limit = query.get("limit", str(_LIMIT_MAX))
    if not limit.isdecimal() or not 1 <= int(limit[:9]) <= _LIMIT_MAX:
        raise InvalidRequest(f"limit must be 1 to {_LIMIT_MAX}.", param="limit")
    names = [row["id"] for row in rows]
    after, before = query.get("after_id"), query.get("before_id")
    if after in names:
        rows = rows[names.index(after) + 1 :]
    elif before in names:
        rows = rows[: names.index(before)]
        return rows[-int(limit) :], len(rows) > int(limit)
    return rows[: int(limit)], len(rows) > int(limit)


def _model_row(model: CatalogueModel) -> dict[str, Any]:
    return {
        "id": model.slug,
        "object": "model",
        "created": _MODELS_SINCE,
        "owned_by": model.provider,
        "kind": "chat",
        "chat_pricing": _pricing(model.prices),
        "embedding_pricing": None,
        "aurous_metadata": {
            "kind": "chat",
            "context_window": model.context_window,
            "capabilities": list(model.capabilities),
            "max_output_tokens_hard_cap": model.max_output_tokens_hard_cap,
            "hard_max_tokens": model.max_output_tokens_hard_cap,
            "default_max_output_tokens": model.default_max_output_tokens,
        },
    }


def _pricing(prices: Prices) -> dict[str, Any]:
    """Return the prices; cached input has a member where it has a price of its own."""
    kinds: dict[str, Price | None] = {
        "input": prices.input_microcredits,
        "output": prices.output_microcredits,
        "cache_read": prices.cache_read_microcredits,
        "cache_write_5m": prices.cache_write_5m_microcredits,
        "cache_write_1h": prices.cache_write_1h_microcredits,
    }
    return {
        kind: {"credits_per_M": _shown(price)} for kind, price in kinds.items() if price is not None
    }


def _shown(price: Price) -> int | float:
    return price if isinstance(price, int) else float(price)
