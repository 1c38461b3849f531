"""The Responses dialect, put together: headers, parsing, events, bodies and errors.

It is stateless. `RESPONSES` is as an installation has it that sets nothing; `strict_contracts` makes
another. What an earlier response adds to a conversation, and providers that are asked natively, are the
endpoints' business: a dialect looks nothing up.

Source: contract of the Responses dialect, sections 1, 4 and 7.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from actors.core.errors import CompletionRuntimeError, InvalidRequest
from actors.core.record import CompletionHeader
from actors.core.request import CompletionRequest, DisconnectPolicy
from actors.ports.runtime import CancelAnswer
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
from serve_app.dialects.midstream_headers import client_name, disconnect_policy
from serve_app.dialects.queries import boolean
from serve_app.dialects.responses.encoder import ResponsesEncoder
from serve_app.dialects.responses.errors import error_reply
from serve_app.dialects.responses.render import input_items_page, queued_response, snapshot_object
from serve_app.dialects.responses.request import completion_request

__all__ = ["RESPONSES", "ResponsesDialect"]

_LIMIT = re.compile(r"-?[0-9]{1,9}", re.ASCII)

_LIMIT_DEFAULT, _LIMIT_MAX = "20", 100


class ResponsesDialect(DialectRules):
    """See `dialects.base.DialectRules`, `BackgroundDialect` and `DeletingDialect`."""

    name = Dialect.RESPONSES
    _cursor_is_called = "the sequence number of an event"

    def reply_headers(self, request_id: str) -> RawHeaders:
        return ((b"x-request-id", request_id.encode("ascii")),)

    def parse_create(self, call: HttpCall) -> CreateCall:
        wire_id = client_name(call.headers)
        policy = disconnect_policy(call.headers)
        value = parse_object(call.body)
        request = completion_request(value, policy, is_strict=self._is_strict)
        # The model says which provider is asked; the hint of a gateway that routes is none here.
        ignored = ("provider",) if value.get("provider") is not None else ()
        return CreateCall(request, wire_id, ignored=ignored)

    def parse_count(self, call: HttpCall) -> CompletionRequest:
        """Return what would be asked; its model is "" where the body names none.

        Raises: InvalidRequest.
        """
        value = parse_object(call.body)
        is_named = value.get("model") is not None
        policy = DisconnectPolicy.CANCEL
        if is_named:
            return completion_request(value, policy)
        return replace(completion_request({**value, "model": "any"}, policy), model="")

    def parse_read(self, call: HttpCall) -> StreamCall | None:
        boolean(call.query, "include_obfuscation")  # There is none to leave out.
        return super().parse_read(call)

    def encoder(self, header: CompletionHeader, *, request_id: str) -> ResponsesEncoder:
        return ResponsesEncoder(header)

    def body(self, shown: Snapshot) -> dict[str, Any]:
        return snapshot_object(shown)

    def accepted(self, header: CompletionHeader) -> Reply:
        return Reply(200, render(queued_response(header)))

    def cancelled(self, answer: CancelAnswer) -> Reply:
        """Return the response as it stands: a cancel of one that has ended changes nothing."""
        return Reply(200, render(self.body(Snapshot.of(answer.record))))

    def deleted(self, wire_id: str) -> Reply:
        return Reply(200, render({"id": wire_id, "object": "response", "deleted": True}))

    def input_items(self, header: CompletionHeader, call: HttpCall) -> dict[str, Any]:
        """Return the page of input items that the call asks for.

        Raises: InvalidRequest.
        """
        limit = call.query.get("limit", _LIMIT_DEFAULT)
        if not _LIMIT.fullmatch(limit):
            raise InvalidRequest("limit must be an integer.", param="limit")
        order = call.query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise InvalidRequest("order must be asc or desc.", param="order")
        return input_items_page(
            header,
            after=call.query.get("after"),
            limit=min(max(int(limit), 1), _LIMIT_MAX),
            is_ascending=order == "asc",
        )

    def error(
        self, error: CompletionRuntimeError, *, operation: Operation, request_id: str
    ) -> Reply:
        return error_reply(error)


RESPONSES = ResponsesDialect()
