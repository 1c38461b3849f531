"""The members of a chat request as the primary page has them, for strict contracts.

What depends on more than one member is checked in `strict`. A member that is null counts as not
sent, as OpenAI's clients send it. Lists stop at their first fault: a body of ten million faults costs
no more than one. Members of the request that are not named here are kept (they go
upstream); those of the parts inside are kept too, so that they can be reported as ignored.

Source: contract of the chat dialect, section 2.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from serve_app.dialects.json_body import tag
from serve_app.dialects.members import Limit, Members, ModelName, Seed, Url, by_json_kind, type_tag

__all__ = [
    "StrictChatBody",
    "ImageUrl",
    "MessageMember",
    "NamedChoice",
    "RefusalMember",
    "TextMember",
    "ToolMember",
    "VideoUrl",
]


# Content.


class TextMember(Members):
    type: Literal["text"]
    text: str


class RefusalMember(Members):
    type: Literal["refusal"]
    refusal: str


class _ImageLocation(Members):
    url: Url
    detail: Literal["low", "high", "auto"] | None = None


class ImageUrl(Members):
    type: Literal["image_url"]
    image_url: _ImageLocation


class _VideoLocation(Members):
    url: Url


class VideoUrl(Members):
    type: Literal["video_url"]
    video_url: _VideoLocation


PartMember = Annotated[
    Annotated[TextMember, Tag(tag("text"))]
    | Annotated[ImageUrl, Tag(tag("image_url"))]
    | Annotated[VideoUrl, Tag(tag("video_url"))]
    | Annotated[RefusalMember, Tag(tag("refusal"))],
    Discriminator(type_tag),
]

Content = Annotated[
    Annotated[str, Tag(tag("string"))]
    | Annotated[list[PartMember], Field(min_length=1, fail_fast=True), Tag(tag("array"))],
    by_json_kind("Input should be a string or an array of parts"),
]


class _CalledFunction(Members):
    name: Annotated[str, Field(min_length=1)]
    arguments: str


class _ToolCallMember(Members):
    id: Annotated[str, Field(min_length=1)]
    type: Literal["function"]
    function: _CalledFunction


class MessageMember(Members):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: Annotated[list[_ToolCallMember], Field(fail_fast=True)] | None = None
    refusal: str | None = None


# Tools and the form of the answer.


class _FunctionMember(Members):
    name: Annotated[str, Field(min_length=1, max_length=128)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolMember(Members):
    type: Literal["function"]
    function: _FunctionMember


class _ChosenFunction(Members):
    name: Annotated[str, Field(min_length=1)]


class NamedChoice(Members):
    type: Literal["function"]
    function: _ChosenFunction


ToolChoiceMember = Annotated[
    Annotated[Literal["auto", "none", "required"], Tag(tag("string"))]
    | Annotated[NamedChoice, Tag(tag("object"))],
    by_json_kind("Input should be auto, none, required or a named function"),
]


class _PlainFormat(Members):
    type: Literal["text", "json_object"]


class _JsonSchema(Members):
    name: Annotated[str, Field(min_length=1, max_length=64)]
    strict: bool | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class _SchemaFormat(Members):
    type: Literal["json_schema"]
    json_schema: _JsonSchema


ResponseFormat = Annotated[
    Annotated[_PlainFormat, Tag(tag("text"))]
    | Annotated[_PlainFormat, Tag(tag("json_object"))]
    | Annotated[_SchemaFormat, Tag(tag("json_schema"))],
    Discriminator(type_tag),
]

StopText = Annotated[str, Field(min_length=1)]

Stop = Annotated[
    Annotated[StopText, Tag(tag("string"))]
    | Annotated[list[StopText], Field(max_length=4, fail_fast=True), Tag(tag("array"))],
    by_json_kind("Input should be a string or an array of strings"),
]

Penalty = Annotated[float, Field(ge=-2, le=2)]


class StrictChatBody(Members):
    """The whole body; `model_extra` has what this API does not name."""

    model: ModelName
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
    seed: Seed | None = None
    stop: Stop | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
