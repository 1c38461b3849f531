"""What the routes of the messages dialect are for; see `operations`. Each is there twice, by prefix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from serve_app.dialects.messages.body import CountBody, MessagesBody
from serve_app.openapi.operation import (
    CANCELLING,
    CREATING,
    CURSOR,
    JSON_OR_STREAM,
    LAST_EVENT_ID,
    NAME,
    STREAM,
    ApiOperation,
    Parameter,
)

__all__ = ["MESSAGES_OPERATIONS"]

_GROUP = "Messages"
_PREFIXES = ("", "/api/gpt")

_ASKED = (400, 401, 404, 422, 529)
_POSTED = (*_ASKED, 408, 413)
_CREATED = (*_POSTED, 402, 429, 502)

_MESSAGE_ID = (Parameter("message_id", "query", "The id that the message shall have.", NAME),)
_AFTER = (
    Parameter("after", "query", "The number of the last frame that one has.", CURSOR),
    LAST_EVENT_ID,
)

_OPERATIONS: Mapping[tuple[str, str], ApiOperation] = {
    ("POST", ""): ApiOperation(
        "Create a message, as JSON or as a stream",
        _GROUP,
        "Message",
        body=MessagesBody,
        parameters=(*CREATING, *_MESSAGE_ID),
        errors=_CREATED,
        media=JSON_OR_STREAM,
    ),
    ("POST", "/count_tokens"): ApiOperation(
        "Count the tokens of a prompt", _GROUP, "MessageTokens", body=CountBody, errors=_POSTED
    ),
    ("POST", "/validate"): ApiOperation(
        "Say whether a create would start, without starting it",
        _GROUP,
        "MessageVerdict",
        body=MessagesBody,
        errors=_POSTED,
        told={400: "MessageVerdict"},
    ),
    ("POST", "/async"): ApiOperation(
        "Start a message in the background",
        _GROUP,
        "MessageInitiated",
        body=MessagesBody,
        parameters=(*CREATING, *_MESSAGE_ID),
        errors=_CREATED,
    ),
    ("GET", "/async/{id}/stream"): ApiOperation(
        "Follow a message, from its first event or after a cursor",
        _GROUP,
        parameters=_AFTER,
        errors=_ASKED,
        media=STREAM,
    ),
    ("GET", "/async/{id}/status"): ApiOperation(
        "Read how a message stands", _GROUP, "MessageStatus", errors=_ASKED
    ),
    ("POST", "/async/{id}/cancel"): ApiOperation(
        "Cancel a message",
        _GROUP,
        "MessageCancelled",
        parameters=CANCELLING,
        errors=(*_POSTED, 409, 429),
        accepts_remember=True,
    ),
    ("DELETE", "/async/{id}/delete"): ApiOperation(
        "Forget a message; one that runs is cancelled first",
        _GROUP,
        errors=_ASKED,
        media=(),
        status=204,
    ),
}


def _prefixed() -> Iterator[tuple[tuple[str, str], ApiOperation]]:
    for prefix in _PREFIXES:
        for (method, path), operation in _OPERATIONS.items():
            yield (method, f"{prefix}/v1/messages{path}"), operation


MESSAGES_OPERATIONS: Mapping[tuple[str, str], ApiOperation] = dict(_prefixed())
