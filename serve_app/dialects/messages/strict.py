"""What the primary page refuses in a messages request beyond what no provider takes: for strict contracts.

The models here narrow those of `body`: what they do not name is as it is there. They only check; what
a request means is `request`'s to say.

Source: contract of the messages dialect, section 2; the parameter types of Anthropic's Python SDK
2.12, read 2026-11-22.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from actors.core.errors import InvalidRequest
from serve_app.dialects.json_body import validate
from serve_app.dialects.member_types import ByJsonKind, ByType, Limit, Listed, Members, NonEmpty
from serve_app.dialects.messages.body import (
    Base64Source,
    CountBody,
    ImageBlockMember,
    MessagesBody,
    OutputConfig,
    RedactedMember,
    SystemMember,
    TextBlockMember,
    ThinkingBlockMember,
    ThinkingConfig,
    ToolMember,
    ToolResultMember,
    ToolUseMember,
    TurnMember,
    UrlSource,
)

__all__ = ["check_count_strictly", "check_strictly"]

_Name = Annotated[str, Field(min_length=1, max_length=128)]


class _ImageData(Base64Source):
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]


class _ImageUrl(UrlSource):
    url: Annotated[str, Field(pattern=r"^https?://[^\s]")]


class _StrictImageBlock(ImageBlockMember):
    source: Annotated[_ImageData | _ImageUrl, ByType()]


class _ToolUse(ToolUseMember):
    id: _Name
    name: _Name
    input: dict[str, Any]


_TaggedPart = Annotated[TextBlockMember | _StrictImageBlock, ByType()]


class _ToolResult(ToolResultMember):
    tool_use_id: _Name
    content: (
        Annotated[
            str | Listed[_TaggedPart], ByJsonKind("Input should be a string or an array of blocks")
        ]
        | None
    ) = None


class _Thinking(ThinkingBlockMember):
    signature: str


_Block = Annotated[
    TextBlockMember | _StrictImageBlock | _ToolUse | _ToolResult | _Thinking | RedactedMember,
    ByType(),
]


class _StrictTurn(TurnMember):
    content: Annotated[
        NonEmpty | Annotated[list[_Block], Field(min_length=1, fail_fast=True)],
        ByJsonKind("Input should be a string or an array of blocks"),
    ]


class _SystemBlock(SystemMember):
    type: Literal["text"] | None = None


_System = Annotated[
    str | _SystemBlock | Listed[_SystemBlock],
    ByJsonKind("Input should be a string, an object or an array of blocks"),
]


class _StrictTool(ToolMember):
    """`type` is of tools that the provider runs itself; none of those can be honoured here."""

    name: _Name


_Effort = Literal["low", "medium", "high", "xhigh", "max"]


class _ThinkingMode(ThinkingConfig):
    type: Literal["enabled", "disabled", "adaptive"] | None = None
    budget_tokens: Limit | None = None
    effort: _Effort | None = None


class _Output(OutputConfig):
    effort: _Effort | None = None


class _Metadata(Members):
    user_id: str | None = None


class _CountBody(CountBody):
    messages: Annotated[list[_StrictTurn], Field(min_length=1, max_length=10_000, fail_fast=True)]
    system: _System | None = None
    tools: Listed[_StrictTool] | None = None
    thinking: _ThinkingMode | None = None
    output_config: _Output | None = None


class _StrictMessagesBody(_CountBody, MessagesBody):
    max_tokens: Annotated[int, Field(le=2**31 - 1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    presence_penalty: Annotated[float, Field(le=2)] | None = None
    frequency_penalty: Annotated[float, Field(le=2)] | None = None
    stop_sequences: Annotated[list[NonEmpty], Field(max_length=8_191, fail_fast=True)] | None = None
    metadata: _Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None


_BLOCKS_ALLOWED: dict[str, tuple[type[BaseModel], ...]] = {
    "system": (TextBlockMember,),
    "user": (TextBlockMember, _StrictImageBlock, _ToolResult),
    "assistant": (TextBlockMember, _ToolUse, _Thinking, RedactedMember),
}


def check_strictly(value: dict[str, Any]) -> None:
    """Raises: InvalidRequest: names the member at fault."""
    body = validate(_StrictMessagesBody, value)
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
    _check_messages(validate(_CountBody, value))


def _check_messages(body: _CountBody) -> None:
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
