"""What stands before the application in every process of Serve that takes HTTP.

Ray Serve obeys two request headers of its own: `x-request-timeout-seconds` cancels the handler, and
`x-request-disconnect-disabled` hides that a client left. Either would let a client change what
becomes of a completion other than by the disconnect rule, so both are taken off here. Named by
`RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`.

Source: ray/serve/_private/{http_util,replica,proxy}.py of Ray 2.60.0, read 2026-11-22.
"""

from __future__ import annotations

from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["HeaderFilter", "OldClients", "middlewares"]

_REMOVED = frozenset({b"x-request-timeout-seconds", b"x-request-disconnect-disabled"})


class HeaderFilter:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope.get("headers", ())
        if any(name in _REMOVED for name, _ in headers):
            kept = [(name, value) for name, value in headers if name not in _REMOVED]
            scope = {**scope, "headers": kept}
        await self._app(scope, receive, send)


class _AsItComes(int):
    """A length that nobody knows: whatever is sent is neither too long nor too short."""

    def __lt__(self, other: object) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    def __sub__(self, other: int) -> _AsItComes:
        return self


class OldClients:
    """Answers HTTP/1.0 without chunks, which it does not know: the connection's end is the answer's.

    uvicorn on httptools gives chunks to everybody and has no setting for it, but an answer's own state:
    that is told to count nothing. Where it has other names the answer goes out as it is.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope.get("http_version") != "1.0":
            await self._app(scope, receive, send)
            return
        cycle: Any = getattr(send, "__self__", None)

        async def send_whole(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message.get("headers", ())}
                if b"content-length" not in names and hasattr(cycle, "expected_content_length"):
                    cycle.chunked_encoding = False
                    cycle.expected_content_length = _AsItComes()
            await send(message)

        await self._app(scope, receive, send_whole)


def middlewares() -> list[Middleware]:
    """Return what Serve puts around the application, the outermost first."""
    return [Middleware(OldClients), Middleware(HeaderFilter)]
