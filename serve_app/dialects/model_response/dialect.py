"""The model-response dialect, put together: headers, parsing, events, bodies and errors.

It is stateless; `MODEL_RESPONSE` is the one instance. Whether the caller's key belongs to the
organization that a call names is the endpoints' to check: a dialect does not know the caller.

Source: contract of the model-response dialect, sections 1, 4 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from actors.core.errors import CompletionRuntimeError
from actors.core.events import Status
from actors.core.record import CompletionHeader
from actors.ports.runtime import CancelAnswer, CancelOutcome
from serve_app.dialects.base import (
    CreateCall,
    Dialect,
    DialectRules,
    HttpCall,
    Operation,
    RawHeaders,
    Reply,
    Snapshot,
    StreamCall,
    render,
)
from serve_app.dialects.midstream_headers import client_name, disconnect_policy
from serve_app.dialects.model_response.encoder import ModelResponseEncoder
from serve_app.dialects.model_response.errors import INVALID_STATUS, error_object, error_reply
from serve_app.dialects.model_response.render import (
    cancellation_object,
    response_object,
    status_object,
)
from serve_app.dialects.model_response.request import (
    completion_request,
    json_object,
    organization_of,
)
from serve_app.http.errors import AlreadyTerminal

__all__ = ["MODEL_RESPONSE", "ModelResponseCall", "ModelResponseDialect"]

API_VERSION = b"2025-01-01"


@dataclass(frozen=True, slots=True)
class ModelResponseCall(CreateCall):
    """`organization` is the one that the body names."""

    organization: str = ""


class ModelResponseDialect(DialectRules):
    name = Dialect.MODEL_RESPONSE

    def reply_headers(self, request_id: str) -> RawHeaders:
        return ((b"x-request-id", request_id.encode("ascii")), (b"freddy-api-version", API_VERSION))

    def parse_create(self, call: HttpCall) -> ModelResponseCall:
        wire_id = client_name(call.headers)
        policy = disconnect_policy(call.headers)
        value = json_object(call.body)
        organization = organization_of(value)
        request = completion_request(value, policy)
        return ModelResponseCall(request, wire_id, organization=organization)

    def parse_read(self, call: HttpCall) -> StreamCall | None:
        organization_of(call.query)  # Before anything else that may be wrong.
        return super().parse_read(call)

    def encoder(self, header: CompletionHeader, *, request_id: str) -> ModelResponseEncoder:
        return ModelResponseEncoder(header)

    def body(self, shown: Snapshot) -> dict[str, Any]:
        return response_object(shown)

    def status(self, shown: Snapshot) -> dict[str, Any]:
        """Return what a GET shows."""
        return status_object(shown)

    def accepted(self, header: CompletionHeader) -> Reply:
        created_at = int(header.created_at_s)
        value = {"id": header.wire_id, "status": "queued", "created_at": created_at}
        return Reply(200, render(value))

    def cancelled(self, answer: CancelAnswer) -> Reply:
        finished = answer.record.finished
        assert finished is not None, "a cancel is answered when its target is settled"
        if answer.outcome is CancelOutcome.JOINED:
            return Reply(200, render(cancellation_object(answer.record.header, finished)))
        if finished.status is Status.FAILED:
            return Reply(INVALID_STATUS.status, render(error_object(INVALID_STATUS)))
        raise AlreadyTerminal

    def error(
        self, error: CompletionRuntimeError, *, operation: Operation, request_id: str
    ) -> Reply:
        return error_reply(error)


MODEL_RESPONSE = ModelResponseDialect()
