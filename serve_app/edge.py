"""What stands before the application in every process of Serve that takes HTTP.

Ray Serve obeys two request headers of its own: `x-request-timeout-seconds` cancels the handler, and
`x-request-disconnect-disabled` hides that a client left. Either would let a client change what
becomes of a completion other than by the disconnect rule, so both are taken off here. Named by
`RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`.

Source: ray/serve/_private/{http_util,replica,proxy}.py of Ray 2.60.0, read 2026-11-22.
"""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["HeaderFilter", "middlewares"]

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


def middlewares() -> list[Middleware]:
    """Return what Serve puts around the application."""
    return [Middleware(HeaderFilter)]
