"""What answers where no route does: in the words of the API that was asked for, and with what there is.

An endpoint of another API's that is not offered is named as such, with those that are; a path that is
nearly one of ours (no `/v1`, `/v1` twice, a slash at its end) with the one that was meant. The answer is
the same whoever asks: nothing here needs a key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from serve_app.dialects.base import DialectRules
from serve_app.http.errors import RouteNotFound
from serve_app.http.exchange import Exchange
from serve_app.http.route import ANTHROPIC_VERSION, RouteHandler, Shell

__all__ = ["Nowhere"]

_OFFERED = (
    "POST /v1/chat/completions",
    "POST /v1/responses",
    "POST /v1/messages",
    "POST /v1/model/response",
    "GET /v1/models",
)

_NOT_OFFERED = (
    "/v1/messages/batches", "/v1/assistants", "/v1/audio", "/v1/batches", "/v1/chatkit",
    "/v1/complete", "/v1/completions", "/v1/containers", "/v1/conversations", "/v1/embeddings",
    "/v1/engines", "/v1/evals", "/v1/files", "/v1/fine_tuning", "/v1/fine-tunes", "/v1/images",
    "/v1/moderations", "/v1/organization", "/v1/organizations", "/v1/realtime", "/v1/rerank",
    "/v1/score", "/v1/skills", "/v1/threads", "/v1/uploads", "/v1/vector_stores", "/v1/videos",
)  # fmt: skip
"""Of OpenAI's, Anthropic's and vLLM's APIs, each with all that is below it."""

_PATH_LENGTH_MAX = 256


class Nowhere:
    """An ASGI application.

    Args:
        routes: the application's whole table.
    """

    def __init__(self, shell: Shell, routes: Sequence[Route]) -> None:
        self._shell = shell
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        endpoint = RouteHandler(self._shell, self._dialect(scope), {}, otherwise=self._refuse)
        await endpoint(scope, receive, send)

    async def _refuse(self, exchange: Exchange) -> None:
        raise RouteNotFound(self._message(exchange.scope))

    def _dialect(self, scope: Scope) -> DialectRules:
        dialects, path = self._shell.dialects, scope["path"]
        if path.startswith(("/v1/messages", "/api/gpt/v1/messages")):
            return dialects.messages
        if path.startswith("/v1/responses"):
            return dialects.responses
        if path.startswith("/v1/model/"):
            return dialects.model_response
        is_anthropics = any(name == ANTHROPIC_VERSION for name, _ in scope["headers"])
        return dialects.messages if is_anthropics else dialects.chat

    def _message(self, scope: Scope) -> str:
        path = scope["path"]
        if len(path) > _PATH_LENGTH_MAX or not path.isprintable():
            return "There is nothing at this path."
        if path.startswith(_NOT_OFFERED):
            return f"{path} is not offered here. Offered are: {', '.join(_OFFERED)}."
        for meant in _meant(path):
            if self._is_route(scope, meant):
                return f"There is nothing at {path}: did you mean {meant}?"
        return f"There is nothing at {path}; /openapi.json lists what there is."

    def _is_route(self, scope: Scope, path: str) -> bool:
        asked = {**scope, "path": path, "root_path": ""}
        return any(
            route.matches(asked)[0] is not Match.NONE and "{model" not in route.path
            for route in self._routes
        )


def _meant(path: str) -> Iterator[str]:
    """Yield the paths that whoever asked for this one may have meant."""
    plain = "/" + "/".join(step for step in path.split("/") if step)
    if plain != path:
        yield plain
    yield f"/v1{plain}"
    first, second = "/v1/v1/", "/v1/"
    if plain.startswith(first):
        yield second + plain.removeprefix(first)
