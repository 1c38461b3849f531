"""The members of a chat request, and what each may be: pydantic models, strictly typed.

What depends on more than one member is checked in `request`. A member that is null counts as not
sent, as OpenAI's clients send it. Lists stop at their first fault: a body of ten million faults costs
no more than one. Members of the request that are not named here are kept (they go
upstream); those of the parts inside are kept too, so that they can be reported as ignored.

Source: contract of the chat dialect, section 2.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from serve_app.dialects.json_body import tag

__all__ = [
    "ChatBody",
    "ImageUrl",
    "MessageMember",
    "NamedChoice",
    "RefusalMember",
    "TextMember",
    "ToolMember",
    "VideoUrl",
]


class _Members(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True)


def _type_tag(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return tag(kind) if isinstance(kind, str) else None


_JSON_KINDS: dict[type, str] = {str: "string", list: "array", dict: "object"}


def _json_tag(value: Any) -> str:
    return tag(_JSON_KINDS.get(type(value), "other"))


# Content.

Url = Annotated[str, Field(pattern=r"^(https?://|data:)[^\s]")]


class TextMember(_Members):
    type: Literal["text"]
    text: str


class RefusalMember(_Members):
    type: Literal["refusal"]
    refusal: str


class _ImageLocation(_Members):
    url: Url
    detail: Literal["low", "high", "auto"] | None = None


class ImageUrl(_Members):
    type: Literal["image_url"]
    image_url: _ImageLocation


class _VideoLocation(_Members):
    url: Url


class VideoUrl(_Members):
    type: Literal["video_url"]
    video_url: _VideoLocation


PartMember = Annotated[
    Annotated[TextMember, Tag(tag("text"))]
    | Annotated[ImageUrl, Tag(tag("image_url"))]
    | Annotated[VideoUrl, Tag(tag("video_url"))]
    | Annotated[RefusalMember, Tag(tag("refusal"))],
    Discriminator(_type_tag),
]

Content = Annotated[
    Annotated[str, Tag(tag("string"))]
    | Annotated[list[PartMember], Field(min_length=1, fail_fast=True), Tag(tag("array"))],
    Discriminator(
        _json_tag,
        custom_error_type="invalid_format",
        custom_error_message="Input should be a string or an array of parts",
    ),
]


class _CalledFunction(_Members):
    name: Annotated[str, Field(min_length=1)]
    arguments: str


class _ToolCallMember(_Members):
    id: Annotated[str, Field(min_length=1)]
    type: Literal["function"]
    function: _CalledFunction


class MessageMember(_Members):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: Annotated[list[_ToolCallMember], Field(fail_fast=True)] | None = None
    refusal: str | None = None


# Tools and the form of the answer.


class _FunctionMember(_Members):
    name: Annotated[str, Field(min_length=1, max_length=128)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolMember(_Members):
    type: Literal["function"]
    function: _FunctionMember


class _ChosenFunction(_Members):
    name: Annotated[str, Field(min_length=1)]


class NamedChoice(_Members):
    type: Literal["function"]
    function: _ChosenFunction


ToolChoiceMember = Annotated[
    Annotated[Literal["auto", "none", "required"], Tag(tag("string"))]
    | Annotated[NamedChoice, Tag(tag("object"))],
    Discriminator(
        _json_tag,
        custom_error_type="invalid_format",
        custom_error_message="Input should be auto, none, required or a named function",
    ),
]


class _PlainFormat(_Members):
    type: Literal["text", "json_object"]


class _JsonSchema(_Members):
    name: Annotated[str, Field(min_length=1, max_length=64)]
    strict: bool | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class _SchemaFormat(_Members):
    type: Literal["json_schema"]
    json_schema: _JsonSchema


ResponseFormat = Annotated[
    Annotated[_PlainFormat, Tag(tag("text"))]
    | Annotated[_PlainFormat, Tag(tag("json_object"))]
    | Annotated[_SchemaFormat, Tag(tag("json_schema"))],
    Discriminator(_type_tag),
]

StopText = Annotated[str, Field(min_length=1)]

Stop = Annotated[
    Annotated[StopText, Tag(tag("string"))]
    | Annotated[list[StopText], Field(max_length=4, fail_fast=True), Tag(tag("array"))],
    Discriminator(
        _json_tag,
        custom_error_type="invalid_format",
        custom_error_message="Input should be a string or an array of strings",
    ),
]

Limit = Annotated[int, Field(ge=1, le=2**31 - 1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class ChatBody(_Members):
    """The whole body; `model_extra` has what this API does not name."""

    model: Annotated[str, Field(min_length=1, max_length=128)]
    messages: Annotated[list[MessageMember], Field(min_length=1, max_length=200, fail_fast=True)]
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    tools: Annotated[list[ToolMember], Field(fail_fast=True)] | None = None
    tool_choice: ToolChoiceMember | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Literal["minimal", "low", "medium", "high"] | None = None
    vision_quality: str | None = None
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: Stop | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
