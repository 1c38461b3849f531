"""What the primary page refuses in a chat request beyond what no provider takes: for strict contracts.

It only checks; what a request means is `request`'s to say.

Source: contract of the chat dialect, section 2.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from actors.core.errors import InvalidRequest
from serve_app.dialects.chat.strict_members import (
    ImageUrl,
    MessageMember,
    RefusalMember,
    StrictChatBody,
    TextMember,
    VideoUrl,
)
from serve_app.dialects.json_body import validate

__all__ = ["check_strictly"]

_PARTS_ALLOWED: dict[str, tuple[type[BaseModel], ...]] = {
    "system": (TextMember,),
    "developer": (TextMember,),
    "user": (TextMember, ImageUrl, VideoUrl),
    "assistant": (TextMember, RefusalMember),
    "tool": (TextMember,),
}

_REFUSED = {"functions": "use tools", "function_call": "use tool_choice"}


def check_strictly(value: dict[str, Any]) -> None:
    """Raises: InvalidRequest: names the member at fault."""
    body = validate(StrictChatBody, value)
    for name, instead in _REFUSED.items():
        if value.get(name) is not None:
            raise InvalidRequest(f"{name} is not supported; {instead}.", param=name)
    old, new = body.max_tokens, body.max_completion_tokens
    if old is not None and new is not None and old != new:
        raise InvalidRequest(
            "max_tokens and max_completion_tokens are the same member and differ.",
            param="max_completion_tokens",
        )
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequest("top_logprobs needs logprobs: true.", param="top_logprobs")
    _check_choice(body)
    for index, member in enumerate(body.messages):
        _check_message(f"messages[{index}]", member)


def _check_choice(body: StrictChatBody) -> None:
    choice = body.tool_choice
    if choice is not None and choice != "none" and not body.tools:
        raise InvalidRequest("tool_choice needs tools.", param="tool_choice")


def _check_message(path: str, member: MessageMember) -> None:
    said_otherwise = member.role == "assistant" and (
        member.tool_calls or member.refusal is not None
    )
    if member.content is None and not said_otherwise:
        raise InvalidRequest(
            f"{path}.content is required.", param=f"{path}.content", reason="missing_field"
        )
    content = member.content if isinstance(member.content, list) else []
    for index, part in enumerate(content):
        if not isinstance(part, _PARTS_ALLOWED[member.role]):
            raise InvalidRequest(
                f"A {part.type} part cannot be in a message of role {member.role}.",
                param=f"{path}.content[{index}].type",
            )
