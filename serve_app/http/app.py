"""The application: every route, at a glance.

No Ray here: the runtime is a port, and `deployment.py` puts the application behind Ray Serve.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from actors.ports.runtime import CompletionRuntime
from actors.settings import Settings
from actors.upstream.catalogue import Catalogue
from serve_app.dialects.base import DialectRules, Operation
from serve_app.dialects.offered import Dialects
from serve_app.endpoints.account import AccountEndpoints, AnthropicModels
from serve_app.endpoints.admin.routes import AdminEndpoints
from serve_app.endpoints.create import DialectEndpoints
from serve_app.endpoints.docs import DocsEndpoints
from serve_app.endpoints.health import HealthEndpoints
from serve_app.endpoints.messages import AsyncMessagesEndpoints, MessagesEndpoints
from serve_app.endpoints.model_response import ModelResponseEndpoints
from serve_app.endpoints.responses import ResponsesEndpoints
from serve_app.http.authentication import Authenticator
from serve_app.http.leaving import Leaving, LifeOfWorkers
from serve_app.http.no_such_route import Nowhere
from serve_app.http.route import Handler, RouteHandler, Shell, new_ulid

__all__ = ["create_app"]


def create_app(
    runtime: CompletionRuntime,
    catalogue: Catalogue,
    settings: Settings,
    *,
    ids: Callable[[], str] = new_ulid,
    now_s: Callable[[], float] = time.time,
    is_draining: Callable[[], bool] = lambda: False,
    workers: LifeOfWorkers | None = None,
    replica: str = "",
) -> Starlette:
    """Return the ASGI application.

    Args:
        ids: returns a new ULID at each call.
        now_s: wall clock, seconds since 1970.
        is_draining: whether this replica is being shut down; no disconnect is then the client's.
        workers: the proxy's in front, whose death is no client's leaving; None where it has none.
        replica: who answers, as `NODE/PID`, for the header `Midstream-Replica`.
    """
    shell = Shell(
        runtime=runtime,
        catalogue=catalogue,
        settings=settings,
        authenticator=Authenticator(runtime.ledger, admin_key_digest=settings.admin_key_digest),
        ids=ids,
        now_s=now_s,
        leaving=Leaving(is_draining, workers),
        replica=replica,
        dialects=Dialects.made(is_strict=settings.strict_contracts),
    )
    routes = _routes(shell)
    app = Starlette(routes=routes, middleware=_middleware(settings))
    app.router.redirect_slashes = False
    app.router.default = Nowhere(shell, routes)
    return app


def _routes(shell: Shell) -> list[Route]:
    def route(
        path: str,
        operation: Operation = Operation.OTHER,
        dialect: DialectRules = shell.dialects.chat,
        **handlers: Handler,
    ) -> Route:
        return Route(path, RouteHandler(shell, dialect, handlers, operation))

    create, read, cancel = Operation.CREATE, Operation.READ, Operation.CANCEL
    dialects = shell.dialects
    chat = DialectEndpoints(shell, dialects.chat)
    response = ModelResponseEndpoints(shell)
    account = AccountEndpoints(shell, dialects.chat)
    admin = AdminEndpoints(shell, dialects.by_name())
    health = HealthEndpoints(shell)
    routes: list[Route] = []
    docs = DocsEndpoints(routes)
    routes += [
        route("/v1/chat/completions", create, POST=chat.create),
        route("/v1/chat/completions/{id}", read, GET=chat.read),
        route("/v1/chat/completions/{id}/cancel", cancel, POST=chat.cancel),
        route("/v1/model/response", create, dialects.model_response, POST=response.create),
        route(
            "/v1/model/response/{id}",
            cancel,
            dialects.model_response,
            GET=response.read,
            DELETE=response.cancel,
        ),
        *_responses_routes(shell),
        *_messages_routes(shell, ""),
        *_messages_routes(shell, "/api/gpt"),
        *_models_routes(shell),
        route("/v1/balance", GET=account.balance),
        route("/admin/v1/completions", GET=admin.list_completions),
        route("/admin/v1/completions/{id}", GET=admin.read_completion),
        route("/admin/v1/completions/{id}/events", GET=admin.events),
        route("/admin/v1/completions/{id}/cancel", cancel, POST=admin.cancel_completion),
        route("/admin/v1/teams", POST=admin.create_team),
        route("/admin/v1/teams/{team}/keys", POST=admin.create_key),
        route("/admin/v1/teams/{team}/credits", POST=admin.grant_credits, GET=admin.read_credits),
        route("/admin/v1/keys", GET=admin.list_keys),
        route("/admin/v1/keys/{key_id}", DELETE=admin.revoke_key),
        route("/admin/v1/ledger/audit", GET=admin.audit),
        route("/", GET=health.hello),
        route("/healthz", GET=health.alive),
        route("/readyz", GET=health.ready),
        route("/openapi.json", GET=docs.document),
        route("/docs", GET=docs.page),
        route("/docs/api", GET=docs.page),
    ]
    return routes


def _models_routes(shell: Shell) -> list[Route]:
    """Return the routes of the models; Anthropic's clients are answered in their API's shape."""
    dialects = shell.dialects
    account = AccountEndpoints(shell, dialects.chat)
    anthropics = AnthropicModels(shell)
    models = RouteHandler(shell, dialects.messages, {"GET": anthropics.models})
    model = RouteHandler(shell, dialects.messages, {"GET": anthropics.model})
    return [
        Route(
            "/v1/models",
            RouteHandler(shell, dialects.chat, {"GET": account.models}, anthropics=models),
        ),
        Route(
            "/v1/models/{model:path}",
            RouteHandler(shell, dialects.chat, {"GET": account.model}, anthropics=model),
        ),
    ]


def _responses_routes(shell: Shell) -> list[Route]:
    def route(path: str, operation: Operation = Operation.OTHER, **handlers: Handler) -> Route:
        return Route(
            f"/v1/responses{path}",
            RouteHandler(shell, shell.dialects.responses, handlers, operation),
        )

    responses = ResponsesEndpoints(shell)
    return [
        route("", Operation.CREATE, POST=responses.create),
        route("/input_tokens", POST=responses.input_tokens),
        route("/compact", POST=responses.compact),
        route("/{id}", Operation.READ, GET=responses.read, DELETE=responses.delete),
        route("/{id}/cancel", Operation.CANCEL, POST=responses.cancel),
        route("/{id}/input_items", GET=responses.input_items),
    ]


def _messages_routes(shell: Shell, prefix: str) -> list[Route]:
    """Return the routes of the messages dialect; its hosted edition has them behind a prefix."""

    def route(path: str, operation: Operation = Operation.OTHER, **handlers: Handler) -> Route:
        dialects = shell.dialects
        dialect = dialects.async_messages if path.startswith("/async") else dialects.messages
        return Route(
            f"{prefix}/v1/messages{path}", RouteHandler(shell, dialect, handlers, operation)
        )

    create, read, cancel = Operation.CREATE, Operation.READ, Operation.CANCEL
    messages, background = MessagesEndpoints(shell), AsyncMessagesEndpoints(shell)
    return [
        route("", create, POST=messages.create),
        route("/count_tokens", POST=messages.count_tokens),
        route("/validate", POST=messages.validate),
        route("/async", create, POST=background.create),
        route("/async/{id}/stream", read, GET=background.read),
        route("/async/{id}/status", read, GET=background.status),
        route("/async/{id}/cancel", cancel, POST=background.cancel),
        route("/async/{id}/delete", DELETE=background.delete),
    ]


def _middleware(settings: Settings) -> list[Middleware]:
    if not settings.cors_allow_origin:
        return []
    cors = Middleware(
        CORSMiddleware,
        allow_origins=[origin.strip() for origin in settings.cors_allow_origin.split(",")],
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
        max_age=600,
    )
    return [cors]


_EXPOSED = (
    "Aitronos-Organization", "Anthropic-RateLimit-Requests-Limit",
    "Anthropic-RateLimit-Requests-Remaining", "Anthropic-RateLimit-Requests-Reset",
    "Aurous-Request-Id", "Aurous-Version", "Aurous-Idempotent-Replayed",
    "Aurous-Idempotency-Status", "Freddy-Api-Version", "Midstream-Adjusted",
    "Midstream-Completion-Id", "Midstream-Ignored", "Midstream-Replica", "Midstream-Status",
    "Request-Id", "Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
    "X-RateLimit-Limit-Requests", "X-RateLimit-Remaining-Requests", "X-RateLimit-Reset-Requests",
    "X-Request-Id", "X-Should-Retry",
)  # fmt: skip
"""What a script in a browser may read beside the body."""
