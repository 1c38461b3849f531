"""The endpoints of the model-response dialect: what they do otherwise than all others.

Every call names an organization, and a key belongs to exactly one: the order of checks is key,
organization named, organization the key's own, and only then what the call is about.

Source: contract of the model-response dialect, section 5 (decision table), and F8.
"""

from __future__ import annotations

from actors.core.errors import Forbidden
from actors.core.record import CompletionRecord
from actors.ports.ledger import CompletionKey, Principal
from serve_app.dialects.base import CreateCall
from serve_app.dialects.model_response.dialect import ModelResponseCall, ModelResponseDialect
from serve_app.dialects.model_response.request import organization_of
from serve_app.endpoints.create import DialectEndpoints
from serve_app.http.exchange import Exchange
from serve_app.http.route import Shell

__all__ = ["ModelResponseEndpoints"]


class ModelResponseEndpoints(DialectEndpoints):
    """The handlers of `/v1/model/response`."""

    _dialect: ModelResponseDialect

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, shell.dialects.model_response)

    async def _understand(
        self, exchange: Exchange, principal: Principal, body: bytes
    ) -> CreateCall:
        parsed = await super()._understand(exchange, principal, body)
        assert isinstance(parsed, ModelResponseCall)
        _admit(exchange, principal, parsed.organization)
        return parsed

    def _key(self, exchange: Exchange, principal: Principal) -> CompletionKey:
        _admit(exchange, principal, organization_of(exchange.query))
        return super()._key(exchange, principal)

    async def _reply_record(self, exchange: Exchange, record: CompletionRecord) -> None:
        await exchange.json(200, self._dialect.status(await self._shown(record)))


def _admit(exchange: Exchange, principal: Principal, organization: str) -> None:
    """Raises: Forbidden: the key is not the organization's, whether that exists or not."""
    if organization != principal.organization:
        raise Forbidden("Organization access denied")
    exchange.show([(b"aitronos-organization", organization.encode("ascii", "replace"))])
