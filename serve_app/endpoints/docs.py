"""The routes that describe all routes: the OpenAPI document, and the same as a page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from starlette.routing import Route

from serve_app.dialects.base import Reply, render
from serve_app.http.exchange import Exchange
from serve_app.openapi.document import document
from serve_app.openapi.page import page

__all__ = ["DocsEndpoints"]

_HTML = (
    (b"content-type", b"text/html; charset=utf-8"),
    # The page has all that it needs, and may ask nobody for more.
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)


class DocsEndpoints:
    """Each is made once, at the first call.

    Args:
        routes: the application's whole table; it may grow until then.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes

    async def document(self, exchange: Exchange) -> None:
        await exchange.reply(Reply(200, self._document))

    async def page(self, exchange: Exchange) -> None:
        body = self._page
        await exchange.begin(200, [*_HTML, (b"content-length", b"%d" % len(body))])
        await exchange.write(body, is_last=True)

    @cached_property
    def _document(self) -> bytes:
        return render(document(self._routes))

    @cached_property
    def _page(self) -> bytes:
        return page(document(self._routes))
