"""The chat dialect, put together: headers, parsing, frames, bodies and errors behind one object.

It is stateless. `CHAT` is as an installation has it that sets nothing; `strict_contracts` makes another.

Source: contract of the chat dialect, sections 1, 2 and 7.
"""

from __future__ import annotations

from typing import Any

from actors.core.errors import CompletionRuntimeError
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
    render,
)
from serve_app.dialects.chat.encoder import ChatEncoder
from serve_app.dialects.chat.errors import error_reply
from serve_app.dialects.chat.render import completion_object
from serve_app.dialects.chat.request import completion_request, ignored_members
from serve_app.dialects.idempotency import has_idempotency_key
from serve_app.dialects.json_body import parse_object
from serve_app.dialects.midstream_headers import client_name, disconnect_policy
from serve_app.http.errors import AlreadyTerminal, UnsupportedVersion

__all__ = ["CHAT", "VERSION", "ChatDialect"]

VERSION = "2026-05-15"
"""The one version of this API there is."""

_WARNING = b"data: %b\n\n" % render(
    {
        "object": "chat.completion.warning",
        "choices": [],  # OpenAI's clients look for it in every frame.
        "warning": {
            "code": "idempotency_ignored_streaming",
            "message": "The idempotency key was ignored: streams are not replayed by key.",
        },
    }
)


class ChatDialect(DialectRules):
    name = Dialect.CHAT
    _rate_suffix = b""
    replay_headers = ((b"aurous-idempotent-replayed", b"true"),)

    def reply_headers(self, request_id: str) -> RawHeaders:
        return (
            (b"aurous-request-id", request_id.encode("ascii")),
            (b"aurous-version", VERSION.encode("ascii")),
        )

    def check(self, call: HttpCall) -> None:
        if call.headers.get("aurous-version", VERSION) != VERSION:
            raise UnsupportedVersion(header="Aurous-Version", known=VERSION)
        super().check(call)

    def wire_id(self, completion_id: str) -> str:
        return completion_id

    def parse_create(self, call: HttpCall) -> CreateCall:
        wire_id = client_name(call.headers)
        policy = disconnect_policy(call.headers)
        value = parse_object(call.body)
        request = completion_request(value, policy, is_strict=self._is_strict)
        ignored = ignored_members(value)
        if not request.stream:
            return CreateCall(request, wire_id, ignored=ignored)
        notice = b""
        if not has_idempotency_key(call.headers):
            status = b"not_set"
        elif self._is_strict:
            status, notice = b"ignored_streaming", _WARNING
        else:
            status = b"honoured"
        headers = ((b"aurous-idempotency-status", status),)
        return CreateCall(request, wire_id, notice, headers, ignored)

    def encoder(self, header: CompletionHeader, *, request_id: str) -> ChatEncoder:
        return ChatEncoder(header, request_id=request_id, is_strict=self._is_strict)

    def body(self, shown: Snapshot) -> dict[str, Any]:
        return completion_object(
            shown.header, shown.answer, shown.receipt, is_strict=self._is_strict
        )

    def cancelled(self, answer: CancelAnswer) -> Reply:
        if answer.outcome is CancelOutcome.TERMINAL:
            raise AlreadyTerminal
        return Reply(200, render(self.body(Snapshot.of(answer.record))))

    def error(
        self, error: CompletionRuntimeError, *, operation: Operation, request_id: str
    ) -> Reply:
        return error_reply(
            error, operation=operation, request_id=request_id, is_strict=self._is_strict
        )


CHAT = ChatDialect()
