"""What the primary page refuses in a chat request beyond what no provider takes: for strict contracts.

The models here narrow those of `body`: what they do not name is as it is there. They only check; what
a request means is `request`'s to say.

Source: contract of the chat dialect, section 2.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from actors.core.errors import InvalidRequest
from serve_app.dialects.chat.body import (
    CalledFunction,
    ChatBody,
    FunctionMember,
    FunctionTool,
    ImageUrl,
    MessageMember,
    RefusalMember,
    TextMember,
    ToolCallMember,
    VideoUrl,
)
from serve_app.dialects.json_body import missing, validate
from serve_app.dialects.member_types import (
    ByJsonKind,
    ByType,
    Limit,
    Listed,
    Members,
    NonEmpty,
    Url,
)

__all__ = ["check_strictly"]


class _Text(TextMember):
    type: Literal["text"]


class _StrictImageLocation(Members):
    url: Url
    detail: Literal["low", "high", "auto"] | None = None


class _StrictImageUrl(ImageUrl):
    image_url: _StrictImageLocation


class _VideoLocation(Members):
    url: Url


class _Video(VideoUrl):
    video_url: _VideoLocation


_Part = Annotated[_Text | _StrictImageUrl | _Video | RefusalMember, ByType()]

_Content = Annotated[
    str | Annotated[list[_Part], Field(min_length=1, fail_fast=True)],
    ByJsonKind("Input should be a string or an array of parts"),
]


class _CalledWithText(CalledFunction):
    arguments: str


class _ToolCall(ToolCallMember):
    type: Literal["function"]
    function: _CalledWithText
    custom: Any = None


class _StrictMessage(MessageMember):
    content: _Content | None = None
    tool_calls: Listed[_ToolCall] | None = None


class _Function(FunctionMember):
    name: Annotated[str, Field(min_length=1, max_length=128)]


class _StrictFunctionTool(FunctionTool):
    function: _Function


class _ChosenFunction(Members):
    name: NonEmpty


class _NamedChoice(Members):
    type: Literal["function"]
    function: _ChosenFunction


_ToolChoice = Annotated[
    Literal["auto", "none", "required"] | _NamedChoice,
    ByJsonKind("Input should be auto, none, required or a named function"),
]


class _StrictPlainFormat(Members):
    type: Literal["text", "json_object"]


class _JsonSchema(Members):
    name: Annotated[str, Field(min_length=1, max_length=64)]
    strict: bool | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class _StrictSchemaFormat(Members):
    type: Literal["json_schema"]
    json_schema: _JsonSchema


_ResponseFormat = Annotated[_StrictPlainFormat | _StrictSchemaFormat, ByType()]

_Stop = Annotated[
    NonEmpty | Annotated[list[NonEmpty], Field(max_length=4, fail_fast=True)],
    ByJsonKind("Input should be a string or an array of strings"),
]

_Penalty = Annotated[float, Field(ge=-2, le=2)]


class _StrictChatBody(ChatBody):
    messages: Annotated[list[_StrictMessage], Field(min_length=1, max_length=200, fail_fast=True)]
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    tools: Listed[_StrictFunctionTool] | None = None
    tool_choice: _ToolChoice | None = None
    response_format: _ResponseFormat | None = None
    reasoning_effort: Literal["minimal", "low", "medium", "high"] | None = None
    stop: _Stop | None = None


_PARTS_ALLOWED: dict[str, tuple[type[BaseModel], ...]] = {
    "system": (_Text,),
    "developer": (_Text,),
    "user": (_Text, _StrictImageUrl, _Video),
    "assistant": (_Text, RefusalMember),
    "tool": (_Text,),
}

_REFUSED = {"functions": "use tools", "function_call": "use tool_choice"}


def check_strictly(value: dict[str, Any]) -> None:
    """Raises: InvalidRequest: names the member at fault."""
    body = validate(_StrictChatBody, value)
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


def _check_choice(body: _StrictChatBody) -> None:
    choice = body.tool_choice
    if choice is not None and choice != "none" and not body.tools:
        raise InvalidRequest("tool_choice needs tools.", param="tool_choice")


def _check_message(path: str, member: _StrictMessage) -> None:
    said_otherwise = member.role == "assistant" and (
        member.tool_calls or member.refusal is not None
    )
    if member.content is None and not said_otherwise:
        raise missing(f"{path}.content")
    content = member.content if isinstance(member.content, list) else []
    for index, part in enumerate(content):
        if not isinstance(part, _PARTS_ALLOWED[member.role]):
            raise InvalidRequest(
                f"A {part.type} part cannot be in a message of role {member.role}.",
                param=f"{path}.content[{index}].type",
            )
