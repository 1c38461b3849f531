"""What this is, whether this replica lives, and whether the runtime behind it would take a request.

The simulator's address is a way around every account, so it is told on a loopback deployment, or
to whoever has the admin key, and to nobody else; so is what runs where.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from actors.core.errors import CompletionRuntimeError
from serve_app.http.exchange import Exchange
from serve_app.http.route import Shell

__all__ = ["HealthEndpoints"]

_HELLO = {
    "name": "midstream",
    "docs": "/docs/api",
    "openapi": "/openapi.json",
    "health": "/healthz",
    "models": "/v1/models",
}


class HealthEndpoints:
    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._is_loopback = _is_loopback(shell.settings.host)

    async def hello(self, exchange: Exchange) -> None:
        """Say what this is, and where to go from here."""
        if "text/html" in exchange.headers.get("accept", ""):
            await exchange.begin(307, [(b"location", b"/docs/api"), (b"content-length", b"0")])
            await exchange.write(b"", is_last=True)
            return
        await exchange.json(200, _HELLO)

    async def alive(self, exchange: Exchange) -> None:
        await exchange.json(200, {"status": "ok"})

    async def ready(self, exchange: Exchange) -> None:
        try:
            described = await self._shell.runtime.describe()
        except CompletionRuntimeError:
            await exchange.json(503, {"status": "unavailable"}, [(b"retry-after", b"1")])
            return
        if described["pool"].get("is_draining"):
            # Whoever sends requests here by what this says sends them elsewhere from now on.
            await exchange.json(503, {"status": "draining"}, [(b"retry-after", b"5")])
            return
        value: dict[str, Any] = {"status": "ready", "simulator": None}
        if self._is_loopback or self._shell.authenticator.is_admin(exchange.headers):
            value |= {name: part for name, part in described.items() if name != "status"}
        await exchange.json(200, value)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
