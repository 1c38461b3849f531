"""The OpenAI Responses wire format, once, both directions.

`request` is what is sent upstream, `body` the same of a client's own body, `stream` reads an answer,
`writer` writes one, `items` is what both and a body are made of, `usage` has the figures, both ways. Used
by the provider client, the simulator, the Responses dialect and the tests alike.
"""

from actors.core.wire.responses.body import own_request_body, prepared
from actors.core.wire.responses.items import (
    CALL_TYPES,
    DEFAULT_MEMBERS,
    INCOMPLETE_REASONS,
    call_item,
    completion_ulid,
    decorated,
    fold_items,
    item_id,
    message_item,
    opaque_item,
    reasoning_item,
    refusal_item,
)
from actors.core.wire.responses.request import ignored, refused, request_body
from actors.core.wire.responses.stream import ResponsesStreamDecoder
from actors.core.wire.responses.usage import usage_from, usage_object
from actors.core.wire.responses.writer import DONE, ResponsesStreamWriter

__all__ = [
    "CALL_TYPES",
    "DEFAULT_MEMBERS",
    "DONE",
    "INCOMPLETE_REASONS",
    "ResponsesStreamDecoder",
    "ResponsesStreamWriter",
    "call_item",
    "completion_ulid",
    "decorated",
    "fold_items",
    "ignored",
    "item_id",
    "message_item",
    "opaque_item",
    "own_request_body",
    "prepared",
    "reasoning_item",
    "refusal_item",
    "refused",
    "request_body",
    "usage_from",
    "usage_object",
]
