"""The Anthropic Messages wire format, once, both directions; llama.cpp's and vLLM's servers speak it too.

`request` is what is sent upstream, `body` the same of a client's own body, `stream` reads an answer,
`writer` writes one, `usage` has the figures, both ways, `redacted` is thinking that nobody may read. Used
by the provider client, the simulator, the messages dialect, the load tester and the tests alike.
"""

from actors.core.wire.anthropic.body import own_request_body, prepared
from actors.core.wire.anthropic.redacted import redacted_data, redacted_signature
from actors.core.wire.anthropic.request import ignored, refused, request_body
from actors.core.wire.anthropic.stream import MessagesStreamDecoder
from actors.core.wire.anthropic.usage import usage_from, usage_object
from actors.core.wire.anthropic.writer import (
    MESSAGE_STOP,
    PING,
    MessagesStreamWriter,
    error_frame,
    fold_content,
    message_body,
    stop_reason,
    text_block,
    thinking_block,
    tool_input,
    tool_use_block,
)

__all__ = [
    "MESSAGE_STOP",
    "PING",
    "MessagesStreamDecoder",
    "MessagesStreamWriter",
    "error_frame",
    "fold_content",
    "ignored",
    "message_body",
    "own_request_body",
    "prepared",
    "redacted_data",
    "redacted_signature",
    "refused",
    "request_body",
    "stop_reason",
    "text_block",
    "thinking_block",
    "tool_input",
    "tool_use_block",
    "usage_from",
    "usage_object",
]
