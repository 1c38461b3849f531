"""The members of a Responses request, and what each may be: pydantic models, strictly typed.

What depends on more than one member is checked in `request`. A member that is null counts as not
sent. Lists stop at their first fault. Members of the request that are not named here are kept (they go
upstream where the provider speaks this format).

Source: contract of the Responses dialect, section 2; OpenAI API reference, "Create a model response",
read 2026-11-22.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from serve_app.dialects.json_body import tag
from serve_app.dialects.members import (
    Limit,
    Members,
    ModelName,
    Url,
    by_json_kind,
    kind_of,
    type_tag,
)

__all__ = [
    "CallItem",
    "ImageMember",
    "InputMember",
    "MessageItem",
    "NamedChoice",
    "OutputItem",
    "ReasoningItem",
    "RefusalMember",
    "ResponsesBody",
    "TextMember",
]


_PART_KINDS = {"text": "input_text", "image_url": "input_image"}
"""What some clients, who think in chat's words, call the parts of a message."""


def _part_tag(value: Any) -> str | None:
    kind = kind_of(value)
    return tag(_PART_KINDS.get(kind, kind)) if isinstance(kind, str) else None


def _item_tag(value: Any) -> str | None:
    """Return the tag of an item; one without a type is a message."""
    kind = kind_of(value)
    return tag(kind) if isinstance(kind, str) else tag("message") if kind is None else None


# Content.


class TextMember(Members):
    type: Literal["input_text", "output_text", "text"]
    text: str


class RefusalMember(Members):
    type: Literal["refusal"]
    refusal: str


class _ImageLocation(Members):
    url: Url
    detail: Literal["low", "high", "auto"] | None = None


ImageUrl = Annotated[
    Annotated[Url, Tag(tag("string"))] | Annotated[_ImageLocation, Tag(tag("object"))],
    by_json_kind("Input should be a URL"),
]


class ImageMember(Members):
    type: Literal["input_image", "image_url"]
    image_url: ImageUrl
    detail: Literal["low", "high", "auto"] | None = None


PartMember = Annotated[
    Annotated[TextMember, Tag(tag("input_text"))]
    | Annotated[TextMember, Tag(tag("output_text"))]
    | Annotated[ImageMember, Tag(tag("input_image"))]
    | Annotated[RefusalMember, Tag(tag("refusal"))],
    Discriminator(_part_tag),
]

_TEXT_OR_PARTS = by_json_kind("Input should be a string or an array of parts")

Content = Annotated[
    Annotated[str, Tag(tag("string"))]
    | Annotated[list[PartMember], Field(fail_fast=True), Tag(tag("array"))],
    _TEXT_OR_PARTS,
]

TextContent = Annotated[
    Annotated[str, Tag(tag("string"))]
    | Annotated[list[TextMember], Field(fail_fast=True), Tag(tag("array"))],
    _TEXT_OR_PARTS,
]


# Items.

ItemId = Annotated[str, Field(max_length=256)]


class MessageItem(Members):
    type: Literal["message"] | None = None
    id: ItemId | None = None
    role: Literal["system", "developer", "user", "assistant"]
    content: Content


class CallItem(Members):
    type: Literal["function_call"]
    id: ItemId | None = None
    call_id: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(min_length=1)]
    arguments: str


class OutputItem(Members):
    type: Literal["function_call_output"]
    id: ItemId | None = None
    call_id: Annotated[str, Field(min_length=1)]
    output: TextContent


class _ReasoningText(Members):
    text: str


ReasoningTexts = Annotated[list[_ReasoningText], Field(fail_fast=True)]


class ReasoningItem(Members):
    type: Literal["reasoning"]
    id: ItemId | None = None
    summary: ReasoningTexts | None = None
    content: ReasoningTexts | None = None
    encrypted_content: str | None = None


Item = Annotated[
    Annotated[MessageItem, Tag(tag("message"))]
    | Annotated[CallItem, Tag(tag("function_call"))]
    | Annotated[OutputItem, Tag(tag("function_call_output"))]
    | Annotated[ReasoningItem, Tag(tag("reasoning"))],
    Discriminator(_item_tag),
]

InputMember = Annotated[
    Annotated[str, Tag(tag("string"))]
    | Annotated[
        list[Item], Field(min_length=1, max_length=1_000, fail_fast=True), Tag(tag("array"))
    ],
    by_json_kind("Input should be a string or an array of items"),
]


# Tools and the form of the answer.


class _ToolMember(Members):
    type: Literal["function"]
    name: Annotated[str, Field(min_length=1, max_length=128)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedChoice(Members):
    type: Literal["function"]
    name: Annotated[str, Field(min_length=1)]


ToolChoiceMember = Annotated[
    Annotated[Literal["auto", "none", "required"], Tag(tag("string"))]
    | Annotated[NamedChoice, Tag(tag("object"))],
    by_json_kind("Input should be auto, none, required or a named function"),
]


class _PlainFormat(Members):
    type: Literal["text", "json_object"]


class _SchemaFormat(Members):
    type: Literal["json_schema"]
    name: Annotated[str, Field(min_length=1, max_length=64)]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


Format = Annotated[
    Annotated[_PlainFormat, Tag(tag("text"))]
    | Annotated[_PlainFormat, Tag(tag("json_object"))]
    | Annotated[_SchemaFormat, Tag(tag("json_schema"))],
    Discriminator(type_tag),
]


class _TextSettings(Members):
    format: Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class _Reasoning(Members):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None


MetadataKey = Annotated[str, Field(max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]


class ResponsesBody(Members):
    """The whole body; `model_extra` has what this API does not name."""

    model: ModelName
    input: InputMember
    instructions: str | None = None
    provider: str | None = None
    background: bool | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    max_output_tokens: Limit | None = None
    max_tool_calls: Limit | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[_ToolMember], Field(max_length=128, fail_fast=True)] | None = None
    tool_choice: ToolChoiceMember | None = None
    parallel_tool_calls: bool | None = None
    reasoning: _Reasoning | None = None
    text: _TextSettings | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    previous_response_id: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: Annotated[list[str], Field(max_length=32, fail_fast=True)] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    user: str | None = None
