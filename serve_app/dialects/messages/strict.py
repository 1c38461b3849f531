"""What the primary page refuses in a messages request beyond what no provider takes: for strict contracts.

It only checks; what a request means is `request`'s to say.

Source: contract of the messages dialect, section 2.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from actors.core.errors import InvalidRequest
from serve_app.dialects.json_body import validate
from serve_app.dialects.messages.strict_members import (
    ImageMember,
    RedactedMember,
    StrictCountBody,
    StrictMessagesBody,
    TextMember,
    ThinkingMember,
    ToolResultMember,
    ToolUseMember,
)

__all__ = ["check_count_strictly", "check_strictly"]

_BLOCKS_ALLOWED: dict[str, tuple[type[BaseModel], ...]] = {
    "system": (TextMember,),
    "user": (TextMember, ImageMember, ToolResultMember),
    "assistant": (TextMember, ToolUseMember, ThinkingMember, RedactedMember),
}


def check_strictly(value: dict[str, Any]) -> None:
    """Raises: InvalidRequest: names the member at fault."""
    body = validate(StrictMessagesBody, value)
    _check_messages(body)
    choice = body.tool_choice
    if choice is not None and choice.type != "none" and not body.tools:
        raise InvalidRequest("tool_choice needs tools.", param="tool_choice")
    limit, budget = body.max_tokens, body.thinking.budget_tokens if body.thinking else None
    if limit is not None and limit > 0 and budget is not None and budget >= limit:
        raise InvalidRequest(
            "thinking.budget_tokens must be less than max_tokens.",
            param="thinking.budget_tokens",
            reason="value_out_of_range",
        )


def check_count_strictly(value: dict[str, Any]) -> None:
    """Check a body whose tokens are counted. Raises: InvalidRequest."""
    _check_messages(validate(StrictCountBody, value))


def _check_messages(body: StrictCountBody) -> None:
    if body.messages[-1].role == "system":
        raise InvalidRequest(
            "The last message must be the user's or the assistant's.",
            param=f"messages[{len(body.messages) - 1}].role",
        )
    for index, member in enumerate(body.messages):
        content = member.content if isinstance(member.content, list) else []
        for at, block in enumerate(content):
            if not isinstance(block, _BLOCKS_ALLOWED[member.role]):
                raise InvalidRequest(
                    f"A {block.type} block cannot be in a message of role {member.role}.",
                    param=f"messages[{index}].content[{at}].type",
                )
