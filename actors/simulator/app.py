"""The simulator's HTTP: the wire formats that it speaks, its models, and the ground truth.

    POST /v1/chat/completions                    as OpenAI's, streamed and not
    POST /v1/messages, /v1/messages/count_tokens as Anthropic's, streamed and not
    POST /v1/responses                           as OpenAI's, in the background too
    GET, DELETE /v1/responses/{id}, ...          see `background_http` and `wires.responses`
    GET  /v1/models                              the models of the catalogue
    GET  /_simulator/requests?completion_id=     what the log has; the newest ones without an id

The completion that a request belongs to is its `X-Request-Id`, "" where it has none. Any API key is
good, none is needed, but for the log: that has what all teams were told, and wants the admin key
where there is one. Completions are answered on ASGI itself, before any routing: that is the path
on which thousands of streams run beside what they are to measure.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from actors.simulator.answers import compose
from actors.simulator.background import BackgroundAnswers
from actors.simulator.background_http import (
    BackgroundWire,
    answer_in_background,
    background_routes,
)
from actors.simulator.connection import BodyTooLarge, SimulatedConnection, read_body
from actors.simulator.faults import (
    BROKEN_MODELS,
    FLAKY_REQUESTS,
    CannedAnswer,
    canned_answer,
    flaky_status,
    status_answer,
)
from actors.simulator.log import ClosedBy, RequestEntry, RequestLog
from actors.simulator.models import MODELS, SimulatedModel
from actors.simulator.request import Ask, AskRefused
from actors.simulator.stream import SILENCE_MAX_S, send_completion, stream_completion
from actors.simulator.vocabulary import body_digest
from actors.simulator.wires.base import Wire
from actors.simulator.wires.chat import CHAT
from actors.simulator.wires.messages import COUNT_TOKENS_PATH, MESSAGES, count_tokens
from actors.simulator.wires.responses import RESPONSES, responses_routes
from actors.upstream.tokenizer import count_prompt, count_text

__all__ = ["OnRequest", "Simulator"]

OnRequest = Callable[[str], Awaitable[None]]
"""Awaited with the completion's id before its request is answered."""

WIRES: tuple[Wire, ...] = (CHAT, MESSAGES, RESPONSES)
BACKGROUND_WIRES: tuple[BackgroundWire, ...] = (RESPONSES,)
"""Those of them whose asks may have `is_background`."""

ROWS_DEFAULT = 100
ROWS_MAX = 1000


class Simulator:
    """The ASGI application. `log` is what `/_simulator/requests` shows.

    Args:
        on_request: see `OnRequest`; a test looks into the store with it, by a connection of its own.
        models: those that it has, by slug, beside the faulty ones.
        admin_key_digest: SHA-256 in hex of the key that the log wants; "" is none.
    """

    def __init__(
        self,
        *,
        on_request: OnRequest | None = None,
        models: Mapping[str, SimulatedModel] = MODELS,
        admin_key_digest: str = "",
        wires: Sequence[Wire] = WIRES,
        background_wires: Sequence[BackgroundWire] = BACKGROUND_WIRES,
    ) -> None:
        self.log = RequestLog()
        self._background = BackgroundAnswers()
        self._on_request = on_request
        self._admin_key_digest = admin_key_digest
        self._models = models
        count_text("")  # Loads the vocabulary now, not on the first request's time.
        self._wires = {wire.path: wire for wire in wires}
        self._background_wires = {wire.path: wire for wire in background_wires}
        self._others = Starlette(
            routes=[
                Route("/v1/models", self._list_models),
                Route(COUNT_TOKENS_PATH, count_tokens, methods=["POST"]),
                Route("/_simulator/requests", self._list_requests),
                *responses_routes(self._background),
                *(Route(path, _method_not_allowed) for path in self._wires),
                *(
                    route
                    for wire in background_wires
                    for route in background_routes(wire, self._background)
                ),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            wire = self._wires.get(scope["path"])
            if wire is not None:
                await self._complete(wire, scope, receive, send)
                return
        await self._others(scope, receive, send)

    async def _complete(self, wire: Wire, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        entry = RequestEntry(_completion_id(scope), time.time(), client[1] if client else None)
        self.log.add(entry)
        try:
            body = await read_body(receive)
        except BodyTooLarge:
            body = b""  # Refused as no JSON; what is left of it is not read.
        if body is None:
            entry.close(ClosedBy.CLIENT, at=time.time())
            return
        connection = SimulatedConnection(entry, receive, send)
        try:
            await self._answer(wire, connection, body)
        finally:
            connection.close()

    async def _answer(self, wire: Wire, connection: SimulatedConnection, body: bytes) -> None:
        entry = connection.entry
        entry.body_digest = body_digest(body)
        try:
            ask = wire.parse(body)
            entry.model, entry.members = ask.model, ask.members
            entry.prompt_tokens = count_prompt(ask.messages, ask.tools)
            if self._on_request is not None:
                await self._on_request(entry.completion_id)
            canned = canned_answer(ask.model, wire) or self._flaky(wire, ask, entry)
            if canned is not None:
                await _send_canned(connection, canned)
                return
            model = self._model(ask.model)
        except AskRefused as error:
            await connection.answer_json(error.fault.status, wire.error_body(error.fault))
            return
        entry.answer = compose(model, ask)
        if ask.is_background:
            background = self._background_wires[wire.path]
            await answer_in_background(connection, background, self._background, model, ask)
        elif ask.is_stream:
            await stream_completion(connection, wire, model, ask)
        else:
            await send_completion(connection, wire, model, ask)

    def _flaky(self, wire: Wire, ask: Ask, entry: RequestEntry) -> CannedAnswer | None:
        status = flaky_status(ask.model)
        if status is None or len(self.log.find(entry.completion_id)) > FLAKY_REQUESTS:
            return None
        return status_answer(status, wire)

    def _model(self, slug: str) -> SimulatedModel:
        if flaky_status(slug) is not None:
            return MODELS["sim-instant"]
        model = self._models.get(slug) or BROKEN_MODELS.get(slug)
        if model is None:
            raise AskRefused(
                f"The model '{slug[:128]}' does not exist or you do not have access to it.",
                status=404,
                code="model_not_found",
            )
        return model

    async def _list_models(self, request: Request) -> Response:
        rows = [
            {"id": slug, "object": "model", "created": 0, "owned_by": "midstream"}
            for slug in self._models
        ]
        return JSONResponse({"object": "list", "data": rows})

    def _may_read(self, request: Request) -> bool:
        if not self._admin_key_digest:
            return True
        secret = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        digest = hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
        return hmac.compare_digest(digest, self._admin_key_digest.lower())

    async def _list_requests(self, request: Request) -> Response:
        if not self._may_read(request):
            error = {"message": "The log wants the admin key.", "type": "authentication_error"}
            return JSONResponse({"error": error}, 401, {"www-authenticate": "Bearer"})
        completion_id = request.query_params.get("completion_id")
        if completion_id is None:
            limit = request.query_params.get("limit", str(ROWS_DEFAULT))
            if not limit.isdecimal():
                return JSONResponse({"error": {"message": "limit is no number"}}, 400)
            entries = self.log.newest(min(int(limit), ROWS_MAX))
        else:
            entries = self.log.find(completion_id)
        return JSONResponse({"data": [entry.to_json() for entry in entries]})


def _completion_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return str(value, "latin-1")
    return ""


async def _send_canned(connection: SimulatedConnection, canned: CannedAnswer) -> None:
    if canned.status == 0:
        await connection.wait(SILENCE_MAX_S)
        return
    await connection.answer(canned.status, canned.body, canned.content_type, canned.headers)


async def _method_not_allowed(request: Request) -> Response:
    error = {"message": "Only POST is supported.", "type": "invalid_request_error"}
    return JSONResponse({"error": error}, 405, {"allow": "POST"})
