"""The OpenAI chat-completions wire format, once, both directions.

`request` is what is sent upstream, `body` the same of a client's own body, `stream` reads an answer,
`writer` writes one, `usage` has the figures, both ways. Used by the provider client, the simulator, the
chat dialect, the load tester and the tests alike.
"""

from actors.core.wire.openai_chat.body import own_request_body, prepared
from actors.core.wire.openai_chat.request import refused, request_body
from actors.core.wire.openai_chat.stream import ChatStreamDecoder
from actors.core.wire.openai_chat.usage import usage_from, usage_object
from actors.core.wire.openai_chat.writer import (
    DONE,
    ChatStreamWriter,
    completion_body,
    error_frame,
    fold_message,
    members_of_call,
    tool_call,
)

__all__ = [
    "DONE",
    "ChatStreamDecoder",
    "ChatStreamWriter",
    "completion_body",
    "error_frame",
    "fold_message",
    "own_request_body",
    "prepared",
    "refused",
    "members_of_call",
    "request_body",
    "tool_call",
    "usage_from",
    "usage_object",
]
