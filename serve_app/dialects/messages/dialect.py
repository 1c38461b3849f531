"""The messages dialect, put together: headers, parsing, frames, bodies and errors behind one object.

It is stateless. `MESSAGES` is as an installation has it that sets nothing; `strict_contracts` makes
another. Both APIs, the synchronous and the asynchronous one, are this dialect: an id of the one is an
id of the other. They differ in the status of a request that is not valid: the asynchronous one's is
422, as its page has it, and the synchronous one's 400, as Anthropic has it.

A stream is taken up by `Last-Event-ID` or `?after=`; where both are there, the later one counts: a
browser reconnects to the address it had first.

Source: contract of the messages dialect; Anthropic API reference, "Rate limits" (headers), read
2026-11-22.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from actors.core.errors import CompletionRuntimeError, InvalidRequest
from actors.core.ids import COMPLETION_PREFIX, is_client_name, ulid_bits
from actors.core.record import CompletionHeader
from actors.core.request import CompletionRequest
from actors.core.wire.anthropic import PING
from actors.ports.ledger import RateState
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
from serve_app.dialects.json_body import parse_object
from serve_app.dialects.messages.carried import carried_headers
from serve_app.dialects.messages.encoder import MessagesEncoder
from serve_app.dialects.messages.errors import error_reply, validation_detail
from serve_app.dialects.messages.render import message_object, status_object, status_of, timestamp
from serve_app.dialects.messages.request import completion_request, counted_request, ignored_members
from serve_app.dialects.midstream_headers import client_name, disconnect_policy
from serve_app.dialects.queries import cursor

__all__ = ["MESSAGES", "MessagesDialect"]


class MessagesDialect(DialectRules):
    """See `dialects.base.DialectRules`, `BackgroundDialect` and `DeletingDialect`.

    Args:
        is_async: whether it speaks for the asynchronous API.
    """

    def __init__(self, *, is_strict: bool = False, is_async: bool = False) -> None:
        super().__init__(is_strict=is_strict)
        self._is_async = is_async

    name = Dialect.MESSAGES
    keep_alive = PING

    def reply_headers(self, request_id: str) -> RawHeaders:
        return ((b"request-id", request_id.encode("ascii")),)

    def rate_headers(self, rate: RateState) -> RawHeaders:
        return (
            (b"anthropic-ratelimit-requests-limit", b"%d" % rate.limit),
            (b"anthropic-ratelimit-requests-remaining", b"%d" % rate.remaining),
            (b"anthropic-ratelimit-requests-reset", timestamp(rate.reset_at_s).encode("ascii")),
        )

    def wire_id(self, completion_id: str) -> str:
        """Return `msg_` and the 32 hex digits that the id's ULID is."""
        return f"msg_{ulid_bits(completion_id.removeprefix(COMPLETION_PREFIX)):032x}"

    def client_name(self, call: HttpCall) -> str | None:
        """Return the id that the client chose, None where it chose none.

        Raises: InvalidRequest: it is no name, or two that differ.
        """
        header, name = client_name(call.headers), call.query.get("message_id")
        if name is not None and not is_client_name(name):
            raise InvalidRequest(
                "message_id must be 1 to 128 of the characters A-Z, a-z, 0-9, '.', '_' and '-'.",
                param="message_id",
            )
        if header is not None and name is not None and header != name:
            raise InvalidRequest("Two ids were chosen, and they differ.", param="message_id")
        return name or header

    def parse_create(self, call: HttpCall) -> CreateCall:
        wire_id = self.client_name(call)
        policy = disconnect_policy(call.headers)
        value = parse_object(call.body)
        request = replace(
            completion_request(value, policy, is_strict=self._is_strict),
            headers=carried_headers(call.headers),
        )
        return CreateCall(request, wire_id, ignored=ignored_members(value))

    def parse_background(self, call: HttpCall) -> CreateCall:
        """Return what a call of the asynchronous API asks for; its `stream` says nothing."""
        parsed = self.parse_create(call)
        return replace(parsed, request=replace(parsed.request, background=True, stream=False))

    def parse_count(self, call: HttpCall) -> CompletionRequest:
        """Return the request whose prompt shall be counted. Raises: InvalidRequest."""
        return counted_request(parse_object(call.body), is_strict=self._is_strict)

    def parse_read(self, call: HttpCall) -> StreamCall:
        # An empty one is none.
        after = cursor(call.query.get("after") or None, "after")
        last = cursor(call.headers.get("last-event-id") or None, "Last-Event-ID")
        return StreamCall(max(after, last))

    def check_cancel(self, body: bytes) -> None:
        """Take no body, or any object.

        Raises: InvalidRequest: it is something else.
        """
        if body.strip():
            parse_object(body)

    def encoder(self, header: CompletionHeader, *, request_id: str) -> MessagesEncoder:
        return MessagesEncoder(header, request_id=request_id)

    def body(self, shown: Snapshot) -> dict[str, Any]:
        return message_object(shown)

    def status(self, shown: Snapshot) -> dict[str, Any]:
        return status_object(shown)

    def accepted(self, header: CompletionHeader) -> Reply:
        value = {
            "message_id": header.wire_id,
            "status": "pending",
            "message": "Request initiated successfully",
        }
        return Reply(200, render(value))

    def cancelled(self, answer: CancelAnswer) -> Reply:
        """Return the one answer that this API has, and in a header what the stream really came to."""
        shown = Snapshot.of(answer.record)
        value = {"message": "Stream cancelled successfully", "message_id": shown.header.wire_id}
        status = status_of(shown).encode("ascii")
        is_news = answer.outcome is CancelOutcome.TERMINAL or status != b"cancelled"
        return Reply(200, render(value), ((b"midstream-status", status),) if is_news else ())

    def deleted(self, wire_id: str) -> Reply:
        return Reply(204, b"")

    def valid(self, parsed: CreateCall, *, ignored: tuple[str, ...], input_tokens: int) -> Reply:
        """Return the answer to a dry run of a request that would start."""
        request = parsed.request
        summary = {
            "model": request.model,
            "message_count": request.echo["message_count"],
            "tool_count": len(request.tools),
            "max_tokens": request.max_output_tokens,
            "stream": request.stream,
            "thinking_enabled": request.echo["thinking_enabled"],
            "input_tokens": input_tokens,
        }
        warnings = [f"{name} is ignored." for name in ignored]
        return _verdict(200, [], warnings, summary)

    def invalid(self, error: CompletionRuntimeError) -> Reply:
        """Return the answer to a dry run of a request that would be refused."""
        return _verdict(400, validation_detail(error), [], {})

    def error(
        self, error: CompletionRuntimeError, *, operation: Operation, request_id: str
    ) -> Reply:
        is_unprocessable = self._is_strict or self._is_async
        return error_reply(error, request_id=request_id, is_unprocessable=is_unprocessable)


def _verdict(
    status: int, errors: list[dict[str, Any]], warnings: list[str], summary: dict[str, Any]
) -> Reply:
    value = {
        "valid": not errors,
        "errors": errors,
        "warnings": warnings,
        "request_summary": summary,
    }
    return Reply(status, render(value))


MESSAGES = MessagesDialect()
